//! Signed copies and signatures beside a file: by `pyHanko`, and updates of any objects, written by
//! hand and signed by OpenSSL.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use super::repository;

/// How many bytes the signature of an update may have.
const ROOM: usize = 8 << 10;

/// A key and its certificate of this moment, in a folder of their own.
pub struct Signer {
    folder: tempfile::TempDir,
    /// Tests share a signer, and what is signed has one name in its folder.
    signing: Mutex<()>,
}

impl Signer {
    /// With a key as `openssl req -newkey` makes it, such as `rsa:2048`.
    pub fn new(key: &str) -> Signer {
        Signer::with(key, "")
    }

    /// And with more arguments for its certificate.
    pub fn with(key: &str, more: &str) -> Signer {
        let signer = Signer {
            folder: tempfile::tempdir().expect("a folder"),
            signing: Mutex::new(()),
        };
        signer.run(
            "openssl",
            &format!(
                "req -x509 -newkey {key} -noenc -keyout key.pem -out certificate.pem -days 30 -utf8 \
                 -subj /C=CN/O=平潭综合实验区/CN=test \
                 -addext keyUsage=digitalSignature,nonRepudiation {more}"
            ),
        );
        signer
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).expect("a file")
    }

    /// What a program says to arguments that are parted by blanks.
    pub fn run(&self, program: impl AsRef<Path>, arguments: &str) -> String {
        let program = program.as_ref();
        let ran = Command::new(program)
            .args(arguments.split_whitespace())
            .current_dir(self.folder.path())
            .output()
            .unwrap_or_else(|error| panic!("{program:?} (tests/tools/install test): {error}"));
        let said = String::from_utf8_lossy(&ran.stdout).into_owned();
        let error = String::from_utf8_lossy(&ran.stderr);
        assert!(ran.status.success(), "{program:?}: {said}{error}");
        said
    }

    /// A CMS without the content, in DER, by `openssl cms -sign` with more arguments.
    pub fn cms(&self, content: &[u8], more: &str) -> Vec<u8> {
        let _alone = self.signing.lock().unwrap_or_else(PoisonError::into_inner);
        std::fs::write(self.path("content"), content).expect("a file");
        self.run(
            "openssl",
            &format!(
                "cms -sign -binary -in content -signer certificate.pem -inkey key.pem \
                 -outform DER -out signature {more}"
            ),
        );
        self.read("signature")
    }

    /// A copy signed by `pyHanko`, `PAdES` B-B or with more arguments for `tests/tools/sign-pdf`.
    pub fn copy(&self, pdf: &[u8], more: &str) -> Vec<u8> {
        let _alone = self.signing.lock().unwrap_or_else(PoisonError::into_inner);
        std::fs::write(self.path("stored.pdf"), pdf).expect("a file");
        self.run(
            repository("tests/tools/sign-pdf"),
            &format!("stored.pdf signed.pdf key.pem certificate.pem {more}"),
        );
        let said = self.run("pdfsig", "signed.pdf");
        assert!(said.contains("Signature is Valid."), "{said}");
        let signed = self.read("signed.pdf");
        assert!(signed.starts_with(pdf));
        signed
    }

    /// Makes an authority in the folder that has issued the certificate, with what `sign-pdf
    /// --archival` asks for.
    pub fn authority(&self) {
        std::fs::write(
            self.path("ca.cnf"),
            "[ca]\ndefault_ca=own\n[own]\ndatabase=index\ncrlnumber=number\ndefault_md=sha256\n\
             default_crl_days=30\n[stamp]\nkeyUsage=critical,digitalSignature\n\
             extendedKeyUsage=critical,timeStamping\n[signer]\n\
             keyUsage=critical,digitalSignature,nonRepudiation\n",
        )
        .expect("a file");
        std::fs::write(self.path("index"), "").expect("a file");
        std::fs::write(self.path("number"), "01\n").expect("a file");
        self.run(
            "openssl",
            "req -x509 -newkey rsa:2048 -noenc -keyout authority.key -out authority.pem -days 30 \
             -subj /CN=authority -addext basicConstraints=critical,CA:TRUE \
             -addext keyUsage=critical,keyCertSign,cRLSign",
        );
        for (name, key, section) in [
            ("stamp", "stamp.key", "stamp"),
            ("certificate", "key.pem", "signer"),
        ] {
            if name == "stamp" {
                self.run("openssl", "genrsa -out stamp.key 2048");
            }
            self.run(
                "openssl",
                &format!("req -new -key {key} -out request -subj /CN={name}"),
            );
            self.run(
                "openssl",
                &format!(
                    "x509 -req -in request -CA authority.pem -CAkey authority.key -CAcreateserial \
                     -days 30 -extfile ca.cnf -extensions {section} -out {name}.pem"
                ),
            );
        }
        self.run(
            "openssl",
            "ca -config ca.cnf -gencrl -keyfile authority.key -cert authority.pem \
             -out authority.crl",
        );
    }
}

/// An update of a PDF, which may do anything.
pub struct Update {
    base: Vec<u8>,
    objects: BTreeMap<u32, Vec<u8>>,
    /// What its table takes back.
    pub freed: Vec<u32>,
    /// The trailer's entries, but for `Size` and `Prev`.
    pub trailer: String,
    /// What stands before its table.
    pub hidden: String,
    /// The numbers of the catalog, of the first page, of the field and of the signature.
    pub catalog: u32,
    pub page: u32,
    pub field: u32,
    pub signature: u32,
}

impl Update {
    /// Of a PDF as banshi writes it or of a signed copy: with nothing in it.
    pub fn nothing(base: &[u8]) -> Update {
        let trailer = text(&base[place(base, b"trailer")..]);
        let number = |text: &str, key: &str| -> u32 {
            let (_, rest) = text.split_once(key).expect("the entry");
            let digits: String = rest
                .trim_start_matches(['[', ' '])
                .chars()
                .take_while(char::is_ascii_digit)
                .collect();
            digits.parse().expect("a number")
        };
        let (catalog, info) = (number(&trailer, "/Root"), number(&trailer, "/Info"));
        let (_, id) = trailer.split_once("/ID").expect("the ID");
        let (id, _) = id.split_once(']').expect("its end");
        let mut update = Update {
            base: base.to_vec(),
            objects: BTreeMap::new(),
            freed: Vec::new(),
            trailer: format!("/Root {catalog} 0 R/Info {info} 0 R/ID{id}]"),
            hidden: String::new(),
            catalog,
            page: 0,
            field: number(&trailer, "/Size"),
            signature: 0,
        };
        update.signature = update.field + 1;
        let pages = number(&update.object(catalog), "/Pages");
        update.page = number(&update.object(pages), "/Kids");
        update
    }

    /// Of a PDF as banshi writes it: with a signature that shows nowhere.
    pub fn signature(base: &[u8]) -> Update {
        let mut update = Update::nothing(base);
        let (field, signature) = (update.field, update.signature);
        update.add(
            update.catalog,
            &format!("/AcroForm<</Fields[{field} 0 R]/SigFlags 3>>"),
        );
        update.add(update.page, &format!("/Annots[{field} 0 R]"));
        let page = update.page;
        update.set(
            field,
            &format!(
                "<</Type/Annot/Subtype/Widget/FT/Sig/T(Seal)/Rect[0 0 0 0]/F 132/P {page} 0 R/V \
                 {signature} 0 R>>"
            ),
        );
        let hole = "0".repeat(2 * ROOM);
        update.set(
            signature,
            &format!(
                "<</Type/Sig/Filter/Adobe.PPKLite/SubFilter/adbe.pkcs7.detached\
                 /M(D:20261130100000+08'00')/ByteRange[0 1111111111 2222222222 3333333333]\
                 /Contents<{hole}>>>"
            ),
        );
        update
    }

    /// A signature with a red seal on the first page: a picture, and its tag.
    pub fn seal(base: &[u8]) -> Update {
        let mut update = Update::signature(base);
        let (field, page) = (update.field, update.page);
        let (form, picture, element) = (field + 2, field + 3, field + 4);
        update.edit(
            field,
            "/Rect[0 0 0 0]",
            &format!("/Rect[400 100 500 200]/AP<</N {form} 0 R>>/TU(Seal)/StructParent 9999"),
        );
        update.stream(
            form,
            &format!(
                "/Type/XObject/Subtype/Form/BBox[0 0 100 100]/Resources<</XObject<</P {picture} 0 \
                 R>>>>"
            ),
            b"100 0 0 100 0 0 cm /P Do",
        );
        update.stream(
            picture,
            "/Type/XObject/Subtype/Image/Width 1/Height 1/ColorSpace/DeviceRGB/BitsPerComponent 8",
            b"\xcc\0\0",
        );
        let root = number_after(&update.object(update.catalog), "/StructTreeRoot ");
        let document = number_after(&update.object(root), "/K[");
        update.set(
            element,
            &format!(
                "<</Type/StructElem/S/Form/P {document} 0 R/Alt(Seal)/K<</Type/OBJR/Obj {field} 0 \
                 R/Pg {page} 0 R>>>>"
            ),
        );
        let text = update.object(document);
        let (before, kids) = text.split_once("/K[").expect("its kids");
        let (kids, after) = kids.split_once(']').expect("their end");
        update.set(
            document,
            &format!("{before}/K[{kids} {element} 0 R]{after}"),
        );
        let text = update.object(root);
        let (before, nums) = text.split_once("/Nums[").expect("its numbers");
        let (nums, after) = nums.split_once(']').expect("their end");
        update.set(
            root,
            &format!("{before}/Nums[{nums} 9999 {element} 0 R]{after}"),
        );
        let next = format!(
            "/ParentTreeNextKey {}",
            number_after(&update.object(root), "/ParentTreeNextKey ")
        );
        update.edit(root, &next, "/ParentTreeNextKey 10000");
        update
    }

    /// An object as it is, without its number: that of the update, or of the file.
    pub fn object(&self, number: u32) -> String {
        if let Some(object) = self.objects.get(&number) {
            return text(object);
        }
        let mark = format!("\n{number} 0 obj\n");
        let begin = place(&self.base, mark.as_bytes()) + mark.len();
        let length = self.base[begin..]
            .windows(7)
            .position(|found| found == b"\nendobj");
        text(&self.base[begin..begin + length.expect("its end")])
    }

    pub fn set(&mut self, number: u32, object: &str) {
        self.objects.insert(number, object.as_bytes().to_vec());
    }

    /// More entries at the end of a dictionary.
    pub fn add(&mut self, number: u32, entries: &str) {
        let object = self.object(number);
        let object = object.trim_end().strip_suffix(">>").expect("a dictionary");
        self.set(number, &format!("{object}{entries}>>"));
    }

    /// Other text in an object.
    pub fn edit(&mut self, number: u32, from: &str, to: &str) {
        let object = self.object(number);
        assert!(object.contains(from), "{from:?} in {object}");
        self.set(number, &object.replacen(from, to, 1));
    }

    pub fn stream(&mut self, number: u32, entries: &str, bytes: &[u8]) {
        let head = format!("<<{entries}/Length {}>>\nstream\n", bytes.len());
        let stream = [head.as_bytes(), bytes, b"\nendstream"].concat();
        self.objects.insert(number, stream);
    }

    /// The file with the update behind it.
    pub fn bytes(&self) -> Vec<u8> {
        let mut file = self.base.clone();
        let mut table = BTreeMap::new();
        for (number, object) in &self.objects {
            table.insert(*number, format!("{:010} 00000 n\r\n", file.len()));
            writeln!(file, "{number} 0 obj").expect("memory");
            file.extend_from_slice(object);
            file.extend_from_slice(b"\nendobj\n");
        }
        for number in &self.freed {
            table.insert(*number, "0000000000 00001 f\r\n".to_owned());
        }
        file.extend_from_slice(self.hidden.as_bytes());
        let begin = file.len();
        file.extend_from_slice(b"xref\n");
        for (number, entry) in &table {
            write!(file, "{number} 1\n{entry}").expect("memory");
        }
        let size = table
            .keys()
            .max()
            .map_or(0, |most| most + 1)
            .max(self.field);
        let mark = place(&self.base, b"startxref\n") + "startxref\n".len();
        let prev: String = text(&self.base[mark..])
            .chars()
            .take_while(char::is_ascii_digit)
            .collect();
        write!(
            file,
            "trailer\n<</Size {size}{}/Prev {prev}>>\nstartxref\n{begin}\n%%EOF\n",
            self.trailer
        )
        .expect("memory");
        file
    }

    /// The same, signed over all but the hole.
    pub fn signed(&self, signer: &Signer) -> Vec<u8> {
        sign(self.bytes(), signer)
    }
}

/// Fills the last hole of a file with a signature of all the rest.
pub fn sign(mut file: Vec<u8>, signer: &Signer) -> Vec<u8> {
    let Range { start: begin, end } = hole(&file);
    let ranges = format!("{begin:010} {end:010} {:010}", file.len() - end);
    let at = place(&file, b"/ByteRange[0 1111111111") + "/ByteRange[0 ".len();
    file[at..at + ranges.len()].copy_from_slice(ranges.as_bytes());
    let content = [&file[..begin], &file[end..]].concat();
    fill(&mut file, &signer.cms(&content, ""));
    file
}

/// Puts a signature into the last hole of a file.
pub fn fill(file: &mut [u8], signature: &[u8]) {
    let Range { start, end } = hole(file);
    let begin = start + 1;
    file[begin..end - 1].fill(b'0');
    for (index, byte) in signature.iter().enumerate() {
        let digits = format!("{byte:02x}");
        file[begin + 2 * index..begin + 2 * index + 2].copy_from_slice(digits.as_bytes());
    }
}

/// The last hole of an update: the place of its signature.
pub fn hole(file: &[u8]) -> Range<usize> {
    let begin = place(file, b"/Contents<") + "/Contents".len();
    begin..begin + 2 * ROOM + 2
}

/// Where some bytes stand last.
pub fn place(file: &[u8], bytes: &[u8]) -> usize {
    let found = file.windows(bytes.len()).rposition(|found| found == bytes);
    found.unwrap_or_else(|| panic!("it has no {:?}", String::from_utf8_lossy(bytes)))
}

fn number_after(text: &str, key: &str) -> u32 {
    let (_, rest) = text
        .split_once(key)
        .unwrap_or_else(|| panic!("no {key} in {text}"));
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().expect("a number")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
