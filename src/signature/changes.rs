//! What an update may change for the sake of a signature, and what it did.
//!
//! Everything that an update brings has to be told for: a field in the form, its widget on a page,
//! what the widget shows, certificates, who saved it. What is left over belongs to no signature.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;

use flate2::read::ZlibDecoder;

use super::pdf::{self, Dictionary, Object, Revision};
use super::{Fault, Seal, xmp};

/// The largest XMP packet, in bytes.
const PACKET: usize = 64 << 10;

/// How deep the tree of pages may nest.
const DEPTH: usize = 16;

/// The longest side of a seal, in points: seven centimetres. The State's are of up to six
/// (GB/T 9704-2012, 7.3.5, and what the State Council says of seals).
const LONGEST: f64 = 200.0;

/// The most faults that are told of.
pub const FAULTS: usize = 20;

/// The most fields that one update may add or fill.
const FIELDS: usize = 64;

/// A signature that an update brought.
pub struct Found {
    /// The number of its dictionary.
    pub number: u32,
    pub entries: Dictionary,
    /// Which revision brought it, from 1.
    pub revision: usize,
    pub seal: Option<Seal>,
}

/// What all updates brought.
#[derive(Default)]
pub struct Changes {
    pub found: Vec<Found>,
    /// The revisions that brought certificates and revocation data.
    pub certificates: Vec<usize>,
    pub faults: Vec<Fault>,
}

/// What an object is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Form,
    Field,
    Signature,
    Appearance,
    Structure,
    Certificates,
    /// Of no page: who saved it, a seed value, a list.
    Other,
}

/// Tells what the revisions after the first brought.
pub fn judge(file: &[u8], revisions: &[Revision]) -> Changes {
    let mut changes = Changes::default();
    let Some((first, updates)) = revisions.split_first() else {
        return changes;
    };
    let mut places = first.objects.clone();
    let mut trailer = &first.trailer;
    let (mut owned, mut pages) = (BTreeMap::new(), BTreeMap::new());
    // What was brought that no signature covers yet.
    let mut bare = None;
    for (index, revision) in updates.iter().enumerate() {
        if changes.faults.len() >= FAULTS {
            break;
        }
        let mut update = Update {
            file,
            places: &places,
            new: BTreeMap::new(),
            told: BTreeSet::new(),
            lists: BTreeSet::new(),
            owned: &mut owned,
            pages: &mut pages,
            faults: Vec::new(),
            more: false,
        };
        for (number, at) in &revision.objects {
            let length = |number| update.length(revision, number);
            match pdf::object(file, *number, *at, length) {
                Some((object, _)) => {
                    update.new.insert(*number, object);
                }
                None => update.fault(
                    format!("object {number} can't be read"),
                    format!("对象{number}无法读取"),
                ),
            }
        }
        let found = update.judge(trailer, revision);
        let (faults, more) = (std::mem::take(&mut update.faults), update.more);
        let brings = update.brings_certificates(trailer, revision);
        changes.faults.extend(faults);
        if brings {
            changes.certificates.push(index + 1);
        }
        match found.is_empty() {
            false => bare = None,
            true if more || !brings => bare = bare.or(Some(index + 1)),
            true => {}
        }
        changes.found.extend(found.into_iter().map(|found| Found {
            revision: index + 1,
            ..found
        }));
        places.extend(revision.objects.iter().map(|(number, at)| (*number, *at)));
        trailer = &revision.trailer;
    }
    if let Some(index) = bare {
        let at = updates[index - 1].place.start;
        changes.faults.push(Fault::new(
            format!("what was added from byte {at} on is covered by no signature"),
            format!("自第{at}字节起追加的内容没有签名覆盖"),
        ));
    }
    changes.faults.truncate(FAULTS);
    changes
}

/// One update over what was there before.
struct Update<'a> {
    file: &'a [u8],
    places: &'a BTreeMap<u32, usize>,
    new: BTreeMap<u32, Object>,
    /// The objects of this update that were told for.
    told: BTreeSet<u32>,
    /// The lists that were compared: one that many refer to is read for the first alone.
    lists: BTreeSet<u32>,
    /// What the objects are for that updates brought.
    owned: &'a mut BTreeMap<u32, Role>,
    /// The page that each field is on, from 1.
    pages: &'a mut BTreeMap<u32, usize>,
    faults: Vec<Fault>,
    /// Whether more was brought than certificates and who saved it.
    more: bool,
}

impl Update<'_> {
    fn fault(&mut self, en: String, zh: String) {
        // What is told for twice is told once.
        let fault = Fault::new(en, zh);
        if self.faults.len() < FAULTS && !self.faults.contains(&fault) {
            self.faults.push(fault);
        }
    }

    /// The length of a stream that is an object of its own.
    fn length(&self, revision: &Revision, number: u32) -> Option<usize> {
        let at = revision.objects.get(&number);
        let at = at.or_else(|| self.places.get(&number))?;
        pdf::length_of(self.file, number, *at)
    }

    /// An object as it was.
    fn before(&self, number: u32) -> Object {
        let read = || {
            let at = *self.places.get(&number)?;
            let length = |number: u32| {
                let at = *self.places.get(&number)?;
                pdf::length_of(self.file, number, at)
            };
            Some(pdf::object(self.file, number, at, length)?.0)
        };
        read().unwrap_or(Object::Null)
    }

    /// An object as it is.
    fn now(&self, number: u32) -> Object {
        let new = self.new.get(&number).cloned();
        new.unwrap_or_else(|| self.before(number))
    }

    /// The value, or the object that it refers to, as it was.
    fn was(&self, value: Option<&Object>) -> Object {
        match value {
            Some(Object::Reference(number)) => self.before(*number),
            Some(value) => value.clone(),
            None => Object::Null,
        }
    }

    /// The value, or the object that it refers to, as it is.
    fn is(&self, value: Option<&Object>) -> Object {
        match value {
            Some(Object::Reference(number)) => self.now(*number),
            Some(value) => value.clone(),
            None => Object::Null,
        }
    }

    /// Whether two objects are the same, to the byte of a stream.
    fn same(&self, one: &Object, other: &Object) -> bool {
        match (one, other) {
            (Object::Stream(one, here), Object::Stream(other, there)) => {
                let bytes = |place: &std::ops::Range<usize>| self.file.get(place.clone());
                one == other && bytes(here) == bytes(there)
            }
            (one, other) => one == other,
        }
    }

    /// Takes a new object for what it is for, once. What was there before is not new, unless it
    /// came for the same and may be replaced.
    fn claim(&mut self, number: u32, role: Role) -> bool {
        let owned = self.owned.get(&number).copied();
        let may_change = matches!(role, Role::Certificates | Role::Form);
        if let Some(owned) = owned.filter(|owned| *owned != role) {
            // Else what may be replaced later would be what is shown.
            if owned == Role::Certificates || role == Role::Certificates {
                self.fault(
                    format!("object {number} is used both as certificates and otherwise"),
                    format!("对象{number}既作证书数据又作他用"),
                );
            }
            return false;
        }
        if !self.new.contains_key(&number) || self.told.contains(&number) {
            return false;
        }
        let known = self.places.contains_key(&number);
        if known && !(owned.is_some() && may_change) {
            return false;
        }
        self.owned.insert(number, role);
        self.told.insert(number)
    }

    /// The value, or the object that it refers to, which is taken.
    fn claimed(&mut self, value: Option<&Object>, role: Role) -> Object {
        if let Some(Object::Reference(number)) = value {
            self.claim(*number, role);
        }
        self.is(value)
    }

    /// The value, or the object that it refers to, if that was not taken yet: else it would be read
    /// as often as it is referred to.
    fn claimed_once(&mut self, value: Option<&Object>, role: Role) -> Object {
        match value {
            Some(Object::Reference(number)) if !self.claim(*number, role) => Object::Null,
            value => self.is(value),
        }
    }

    /// Takes all new objects that can be reached from a value.
    fn walk(&mut self, value: &Object, role: Role, from: u32) {
        let mut left = vec![(value.clone(), from)];
        while let Some((value, from)) = left.pop() {
            match value {
                Object::Reference(number) => {
                    let known = self.places.contains_key(&number);
                    if !known && !self.new.contains_key(&number) {
                        // Or a later update would fill it in.
                        self.fault(
                            format!("object {from} refers to object {number}, which is not there"),
                            format!("对象{from}引用了不存在的对象{number}"),
                        );
                    } else if self.claim(number, role) {
                        left.push((self.now(number), number));
                    }
                }
                Object::Array(items) => left.extend(items.into_iter().map(|item| (item, from))),
                Object::Dictionary(entries) => {
                    self.harmless(&entries, &["JS", "OC", "OPI"], from);
                    left.extend(entries.into_values().map(|value| (value, from)));
                }
                Object::Stream(entries, _) => {
                    self.harmless(&entries, &["JS", "OC", "OPI", "Ref", "F", "FFilter"], from);
                    left.extend(entries.into_values().map(|value| (value, from)));
                }
                _ => {}
            }
        }
    }

    /// Nothing that acts, hides or comes from outside.
    fn harmless(&mut self, entries: &Dictionary, never: &[&str], from: u32) {
        let key = never
            .iter()
            .find(|key| entries.contains_key(key.as_bytes()));
        let layer = entries.get(b"Type".as_slice());
        let layer = layer.is_some_and(|kind| kind.is_name("OCG") || kind.is_name("OCMD"));
        if let Some(key) = key.copied().or(layer.then_some("OCG")) {
            self.fault(
                format!("object {from} has /{key}, which has no place in a signature"),
                format!("对象{from}含有签名不应有的/{key}"),
            );
        }
    }

    fn judge(&mut self, trailer: &Dictionary, revision: &Revision) -> Vec<Found> {
        let root = self.trailers(trailer, revision);
        for number in &revision.freed {
            if *number != 0 && self.places.contains_key(number) {
                self.fault(
                    format!("object {number} was taken out"),
                    format!("对象{number}被删除"),
                );
            }
        }
        let (old, new) = (self.before(root), self.now(root));
        let fields = self.form(root, &old, &new);
        self.annotations(&old, &fields);
        let mut found = Vec::new();
        for number in &fields {
            found.extend(self.field(*number));
        }
        self.catalog(root, &old, &new, &found);
        self.structure(&old, &new, &fields);
        self.certificates(&new, root);
        self.left_over();
        found
    }

    /// The trailer refers to the same catalog, and to the same information.
    fn trailers(&mut self, old: &Dictionary, revision: &Revision) -> u32 {
        let new = &revision.trailer;
        let (was, is) = (reference(old, "Root"), reference(new, "Root"));
        if is != was || is.is_none() {
            self.fault(
                "the trailer names another catalog".to_owned(),
                "文件尾指向另一个文档目录".to_owned(),
            );
        }
        const KNOWN: [&str; 5] = ["Size", "Root", "Info", "ID", "Prev"];
        for key in new.keys() {
            if !KNOWN.iter().any(|known| known.as_bytes() == key) {
                let key = shown(key);
                self.fault(
                    format!("the trailer has /{key}"),
                    format!("文件尾含有/{key}"),
                );
            }
        }
        let size = |trailer: &Dictionary| trailer.get(b"Size".as_slice()).and_then(Object::whole);
        let most = revision.objects.keys().next_back().copied().unwrap_or(0);
        let fits = size(new) >= size(old) && size(new) > usize::try_from(most).ok();
        if !fits {
            self.fault(
                "the trailer's Size leaves objects out".to_owned(),
                "文件尾的Size遗漏了对象".to_owned(),
            );
        }
        let id = |trailer: &Dictionary| {
            let id = trailer.get(b"ID".as_slice()).and_then(Object::array);
            id.and_then(<[Object]>::first).cloned()
        };
        if id(old).is_some() && id(new) != id(old) {
            self.fault(
                "the trailer's first ID is another".to_owned(),
                "文件尾的首个ID已不同".to_owned(),
            );
        }
        let info = |trailer: &Dictionary| trailer.get(b"Info".as_slice()).cloned();
        let (was, is) = (info(old), info(new));
        let (was, now) = (self.was(was.as_ref()), self.is(is.as_ref()));
        if let Some(number) = is.as_ref().and_then(Object::reference) {
            let changed = changed(&was, &now);
            let saved = ["ModDate", "Producer"];
            let plain = saved.iter().all(|key| {
                let value = now.get(key);
                value.is_none_or(|value| value.string().is_some())
            });
            match changed.iter().find(|key| !is_in(key, &saved)) {
                None if plain => self.tell_again(info(old).as_ref(), number),
                key => {
                    let key = key.map_or("ModDate".to_owned(), |key| shown(key));
                    self.fault(
                        format!("object {number}, the document information: /{key} was changed"),
                        format!("文档信息（对象{number}）的/{key}被改动"),
                    );
                }
            }
        } else if is != info(old) {
            self.fault(
                "the document information was changed".to_owned(),
                "文档信息被改动".to_owned(),
            );
        }
        reference(old, "Root").unwrap_or(0)
    }

    /// An object that was held against what it was.
    fn tell(&mut self, number: u32) {
        if self.new.contains_key(&number) {
            self.told.insert(number);
        }
    }

    /// One that may be another than before: in its place, or a new one.
    fn tell_again(&mut self, old: Option<&Object>, number: u32) {
        if old.and_then(Object::reference) == Some(number) {
            self.tell(number);
        } else {
            self.claim(number, Role::Other);
        }
    }

    /// What the form has more than it had: fields that are new, or were empty.
    fn form(&mut self, root: u32, old: &Object, new: &Object) -> Vec<u32> {
        let was = self.was(old.get("AcroForm"));
        let is = self.claimed(new.get("AcroForm"), Role::Form);
        let number = new.get("AcroForm").and_then(Object::reference);
        let number = number.unwrap_or(root);
        for key in changed(&was, &is) {
            let value = is.get(&shown(&key)).cloned();
            let fits = match (key.as_slice(), &value) {
                (b"Fields", _) => true,
                (b"SigFlags", Some(Object::Number(_))) | (b"DA", Some(Object::String(_))) => true,
                (b"NeedAppearances", Some(Object::Boolean(false))) => true,
                (b"DR", Some(resources)) => {
                    self.walk(resources, Role::Appearance, number);
                    true
                }
                _ => false,
            };
            self.more = true;
            if !fits {
                let key = shown(&key);
                self.fault(
                    format!("object {number}, the form: /{key} was changed"),
                    format!("表单（对象{number}）的/{key}被改动"),
                );
            }
        }
        let fields = (was.get("Fields").cloned(), is.get("Fields").cloned());
        let fields = self.extended(fields.0.as_ref(), fields.1.as_ref(), Role::Form);
        let Some((was, more)) = fields else {
            self.fault(
                format!("object {number}, the form: a field was taken out or replaced"),
                format!("表单（对象{number}）的域被删除或替换"),
            );
            return Vec::new();
        };
        let (mut fields, mut met) = (Vec::new(), BTreeSet::new());
        for field in more {
            match field.reference() {
                Some(field) if met.insert(field) => fields.push(field),
                _ => self.fault(
                    format!("object {number}, the form: a field stands in it twice, or directly"),
                    format!("表单（对象{number}）中的域重复，或未作为独立对象"),
                ),
            }
        }
        for field in was.iter().filter_map(Object::reference) {
            if !self.new.contains_key(&field) || !met.insert(field) {
                continue;
            }
            let (before, now) = (self.before(field), self.now(field));
            if !self.same(&before, &now) {
                if before.get("V").is_none() && self.owned.get(&field) == Some(&Role::Field) {
                    fields.push(field);
                } else {
                    self.fault(
                        format!("object {field}, a field that was signed before, was replaced"),
                        format!("对象{field}是先前已签名的域，被替换"),
                    );
                    self.tell(field);
                }
            }
        }
        if fields.len() > FIELDS {
            self.fault(
                format!("object {number}, the form: an update brings more than {FIELDS} fields"),
                format!("表单（对象{number}）：一次更新新增或填写的域超过{FIELDS}个"),
            );
            fields.truncate(FIELDS);
        }
        fields
    }

    /// The items of a list as it was, and those that were added at its end; none, if it lost or
    /// changed one, or is another's, too.
    fn extended(
        &mut self,
        old: Option<&Object>,
        new: Option<&Object>,
        role: Role,
    ) -> Option<(Vec<Object>, Vec<Object>)> {
        let lists = [old, new].into_iter().flatten();
        let lists: BTreeSet<u32> = lists.filter_map(Object::reference).collect();
        for list in lists {
            self.lists.insert(list).then_some(())?;
        }
        let items = |value: Option<&Object>, is: Object| match (value, is) {
            (None, _) => Vec::new(),
            (_, Object::Array(items)) => items,
            (Some(value), _) => vec![value.clone()],
        };
        let was = items(old, self.was(old));
        let is = items(new, self.is(new));
        let more = is.strip_prefix(was.as_slice())?.to_vec();
        // A list that is an object of its own, and has grown.
        if let Some(Object::Reference(number)) = new
            && self.now(*number).array().is_some()
            && !self.claim(*number, role)
            && new == old
        {
            self.tell(*number);
        }
        Some((was, more))
    }

    /// The pages' annotations: more are the widgets of fields only, each on one page.
    fn annotations(&mut self, catalog: &Object, fields: &[u32]) {
        for (index, page) in self.page_tree(catalog).into_iter().enumerate() {
            let (old, new) = (self.before(page), self.now(page));
            let listed = new.get("Annots").and_then(Object::reference);
            let touched = |number: &u32| self.new.contains_key(number);
            if !touched(&page) && !listed.as_ref().is_some_and(touched) {
                continue;
            }
            if let Some(key) = changed(&old, &new).iter().find(|key| *key != b"Annots") {
                let key = shown(key);
                self.fault(
                    format!("object {page}, page {}: /{key} was changed", index + 1),
                    format!("第{}页（对象{page}）的/{key}被改动", index + 1),
                );
            }
            self.tell(page);
            let annotations = self.extended(old.get("Annots"), new.get("Annots"), Role::Other);
            let Some((_, more)) = annotations else {
                self.fault(
                    format!(
                        "object {page}, page {}: an annotation was taken out or replaced",
                        index + 1
                    ),
                    format!("第{}页（对象{page}）的批注被删除或替换", index + 1),
                );
                continue;
            };
            self.more |= !more.is_empty();
            for annotation in more {
                let field = annotation
                    .reference()
                    .filter(|field| fields.contains(field));
                let once = field.is_some_and(|field| self.pages.insert(field, index + 1).is_none());
                if !once {
                    let number = annotation.reference().unwrap_or(page);
                    self.fault(
                        format!(
                            "object {number}, an annotation added on page {}, is no field of a \
                             signature",
                            index + 1
                        ),
                        format!("第{}页新增的批注（对象{number}）不是签名域", index + 1),
                    );
                }
            }
        }
    }

    /// The pages in their order, as they were.
    fn page_tree(&self, catalog: &Object) -> Vec<u32> {
        let (mut pages, mut seen) = (Vec::new(), BTreeSet::new());
        let root = catalog.get("Pages").and_then(Object::reference);
        let mut left: Vec<(u32, usize)> = root.map(|root| (root, DEPTH)).into_iter().collect();
        while let Some((number, depth)) = left.pop() {
            if !seen.insert(number) {
                continue;
            }
            let node = self.before(number);
            match (
                node.get("Kids").and_then(Object::array),
                depth.checked_sub(1),
            ) {
                (Some(kids), Some(depth)) => {
                    let kids = kids.iter().rev().filter_map(Object::reference);
                    left.extend(kids.map(|kid| (kid, depth)));
                }
                _ => pages.push(number),
            }
        }
        pages
    }

    /// A field of a signature and its widget, in one.
    fn field(&mut self, number: u32) -> Option<Found> {
        const KNOWN: [&str; 26] = [
            "Type",
            "Subtype",
            "FT",
            "T",
            "TU",
            "TM",
            "NM",
            "Ff",
            "F",
            "Rect",
            "P",
            "V",
            "AP",
            "MK",
            "BS",
            "Border",
            "DA",
            "Q",
            "H",
            "Lock",
            "SV",
            "StructParent",
            "M",
            "Contents",
            "Lang",
            "DR",
        ];
        let before = self.before(number);
        let object = self.now(number);
        self.more = true;
        let wrong = |update: &mut Self, en: &str, zh: &str| {
            update.fault(
                format!("object {number}, the field of a signature: {en}"),
                format!("签名域（对象{number}）：{zh}"),
            );
        };
        // One that was empty keeps all that it had.
        let kept = changed(&before, &object);
        let kept = kept.iter().all(|key| is_in(key, &["V", "AP", "M", "DR"]));
        let filled = self.owned.get(&number) == Some(&Role::Field) && kept;
        if filled {
            self.tell(number);
        } else if !self.claim(number, Role::Field) {
            wrong(
                self,
                "it was there before, or is used twice",
                "先前已存在，或被重复使用",
            );
            return None;
        }
        let entries = match &object {
            Object::Dictionary(entries) => entries.clone(),
            _ => Dictionary::new(),
        };
        let is = |key: &str, name: &str| {
            let value = entries.get(key.as_bytes());
            value.is_some_and(|value| value.is_name(name))
        };
        if !is("FT", "Sig") || !is("Subtype", "Widget") {
            wrong(
                self,
                "it is not a signature's, with its widget in one",
                "不是与其控件合一的签名域",
            );
            return None;
        }
        if let Some(key) = entries.keys().find(|key| !is_in(key, &KNOWN)) {
            let key = shown(key);
            wrong(self, &format!("it has /{key}"), &format!("含有/{key}"));
        }
        for key in ["MK", "BS", "Border", "Lock", "SV", "DR", "DA", "T", "TU"] {
            if let Some(value) = entries.get(key.as_bytes()) {
                self.walk(value, Role::Other, number);
            }
        }
        let seal = self.seal(number, &object);
        let Some(signature) = entries.get(b"V".as_slice()) else {
            // What it shows, a viewer may draw by itself, too: a background, a border.
            let look = self.is(entries.get(b"MK".as_slice()));
            let drawn = look.get("BG").is_some() || look.get("BC").is_some();
            if drawn || entries.contains_key(b"AP".as_slice()) {
                wrong(
                    self,
                    "it shows something and holds no signature",
                    "有外观而没有签名",
                );
            }
            return None;
        };
        let Some(signature) = signature.reference() else {
            wrong(
                self,
                "its signature is no object of its own",
                "签名未作为独立对象",
            );
            return None;
        };
        if !self.claim(signature, Role::Signature) {
            wrong(
                self,
                "its signature was there before, or is another's",
                "签名先前已存在，或属于其他域",
            );
            return None;
        }
        let value = self.now(signature);
        let Object::Dictionary(entries) = &value else {
            wrong(self, "its signature is no dictionary", "签名不是字典");
            return None;
        };
        self.walk(&value, Role::Signature, signature);
        Some(Found {
            number: signature,
            entries: entries.clone(),
            revision: 0,
            seal,
        })
    }

    /// What a field shows, which is within its own rectangle by the very way in which it is drawn
    /// (ISO 32000-1, 12.5.5): where, if anywhere.
    fn seal(&mut self, number: u32, field: &Object) -> Option<Seal> {
        let wrong = |update: &mut Self, en: String, zh: String| {
            update.fault(
                format!("object {number}, the field of a signature: {en}"),
                format!("签名域（对象{number}）：{zh}"),
            );
        };
        let Some(rect) = numbers::<4>(field.get("Rect")) else {
            wrong(self, "it has no Rect".to_owned(), "没有Rect".to_owned());
            return None;
        };
        let [left, right] = [rect[0].min(rect[2]), rect[0].max(rect[2])];
        let [bottom, top] = [rect[1].min(rect[3]), rect[1].max(rect[3])];
        let (width, height) = (right - left, top - bottom);
        let text = match field.get("AP").cloned() {
            Some(appearance) => self.appearance(number, &appearance),
            None => false,
        };
        if width == 0.0 || height == 0.0 {
            return None;
        }
        if width > LONGEST || height > LONGEST {
            wrong(
                self,
                format!("it is {width:.0} by {height:.0} points, a seal is of at most {LONGEST}"),
                format!("尺寸为{width:.0}×{height:.0}点，印章边长不得超过{LONGEST}点"),
            );
        }
        // Hidden (2), shown without being printed (not 4) or the other way round (32, 256).
        let flags = field.get("F").and_then(Object::whole).unwrap_or(0);
        if flags & (1 | 2 | 32 | 256) != 0 || flags & 4 == 0 {
            wrong(
                self,
                format!("it is not shown on screen and paper alike (F {flags})"),
                format!("屏幕与打印的显示不一致（F {flags}）"),
            );
        }
        // NoZoom (8) and NoRotate (16) draw beyond the rectangle.
        if flags & (8 | 16) != 0 {
            wrong(
                self,
                format!("it is not zoomed and turned with the page (F {flags})"),
                format!("不随页面缩放和旋转（F {flags}）"),
            );
        }
        let page = *self.pages.get(&number)?;
        let rect = [left, bottom, right, top];
        Some(Seal {
            page,
            rect,
            text,
            tagged: field.get("StructParent").is_some(),
        })
    }

    /// One form, drawn as it is whatever happens to the field; whether it can show text.
    fn appearance(&mut self, number: u32, appearance: &Object) -> bool {
        let appearance = self.claimed_once(Some(appearance), Role::Appearance);
        let normal = appearance.get("N").and_then(Object::reference);
        let only = appearance.entries().is_some_and(|states| states.len() == 1);
        let normal = normal.filter(|normal| only && self.claim(*normal, Role::Appearance));
        let form = normal.map(|normal| (normal, self.now(normal)));
        let form = form.filter(|(_, form)| {
            let matrix = match form.get("Matrix") {
                Some(matrix) => numbers::<6>(Some(matrix)).is_some(),
                None => true,
            };
            matches!(form, Object::Stream(..))
                && form.get("Subtype").is_some_and(|kind| kind.is_name("Form"))
                && numbers::<4>(form.get("BBox")).is_some()
                && matrix
        });
        match form {
            Some((normal, form)) => {
                self.walk(&form, Role::Appearance, normal);
                self.has_faces(form)
            }
            None => {
                self.fault(
                    format!(
                        "object {number}, the field of a signature: what it shows is not one new \
                         form"
                    ),
                    format!("签名域（对象{number}）：外观不是单独一个新增的表单对象"),
                );
                false
            }
        }
    }

    /// Whether a form has faces for text, or one that it draws, paints with or masks with.
    fn has_faces(&self, form: Object) -> bool {
        let (mut left, mut seen) = (vec![form], BTreeSet::new());
        // An object is read once for each of what it can be.
        let mut read = |value: Option<&Object>, what: &'static str| match value {
            Some(Object::Reference(number)) if !seen.insert((*number, what)) => Object::Null,
            value => self.is(value),
        };
        let each = |value: &Object| -> Vec<Object> {
            let entries = value.entries().into_iter();
            entries
                .flat_map(|entries| entries.values().cloned())
                .collect()
        };
        while let Some(form) = left.pop() {
            let resources = read(form.get("Resources"), "Resources");
            if !each(&read(resources.get("Font"), "Font")).is_empty() {
                return true;
            }
            for state in each(&read(resources.get("ExtGState"), "ExtGState")) {
                let state = read(Some(&state), "state");
                if state.get("Font").is_some() {
                    return true;
                }
                let mask = read(state.get("SMask"), "SMask");
                left.push(read(mask.get("G"), "drawn"));
            }
            for kind in ["XObject", "Pattern"] {
                for drawn in each(&read(resources.get(kind), kind)) {
                    left.push(read(Some(&drawn), "drawn"));
                }
            }
        }
        false
    }

    /// The rest of the catalog.
    fn catalog(&mut self, root: u32, old: &Object, new: &Object, found: &[Found]) {
        self.tell(root);
        for key in changed(old, new) {
            let value = new.get(&shown(&key)).cloned();
            let fits = match key.as_slice() {
                // Held against what they were elsewhere.
                b"AcroForm" | b"DSS" => value.is_some(),
                b"Metadata" | b"StructTreeRoot" => {
                    value.as_ref().and_then(Object::reference).is_some()
                }
                b"Extensions" => self.extensions(old.get("Extensions"), value.as_ref()),
                b"Version" => ["1.7", "2.0"]
                    .iter()
                    .any(|version| value.as_ref().is_some_and(|value| value.is_name(version))),
                b"Perms" => self.permissions(value.as_ref(), found),
                _ => false,
            };
            if !fits {
                let key = shown(&key);
                self.fault(
                    format!("object {root}, the catalog: /{key} was changed"),
                    format!("文档目录（对象{root}）的/{key}被改动"),
                );
            }
        }
        self.metadata(old.get("Metadata"), new.get("Metadata"));
    }

    /// Names of extensions of PDF, with numbers.
    fn extensions(&mut self, old: Option<&Object>, new: Option<&Object>) -> bool {
        let was = self.was(old);
        let is = self.claimed(new, Role::Other);
        let plain = |value: &Object| {
            let entries = value.entries();
            entries.is_some_and(|entries| {
                entries.values().all(|value| {
                    matches!(
                        value,
                        Object::Name(_) | Object::Number(_) | Object::String(_)
                    )
                })
            })
        };
        let added = changed(&was, &is);
        added.iter().all(|key| {
            let value = is.get(&shown(key));
            match value {
                Some(Object::Array(items)) => items.iter().all(plain),
                Some(value) => is_in(key, &["Type"]) || plain(value),
                None => false,
            }
        })
    }

    /// What may be changed after a certifying signature, which is one of these.
    fn permissions(&mut self, value: Option<&Object>, found: &[Found]) -> bool {
        self.more = true;
        let value = self.claimed(value, Role::Other);
        let Object::Dictionary(entries) = value else {
            return false;
        };
        entries.iter().all(|(key, value)| {
            key == b"DocMDP"
                && found
                    .iter()
                    .any(|found| value.reference() == Some(found.number))
        })
    }

    /// XMP says the same of the document.
    fn metadata(&mut self, old: Option<&Object>, new: Option<&Object>) {
        let Some(number) = new.and_then(Object::reference) else {
            return;
        };
        let (was, is) = (self.was(old), self.is(new));
        if self.same(&was, &is) {
            return;
        }
        let mut why = None;
        let extra = changed(&was, &is);
        if let Some(key) = extra.iter().find(|key| !is_in(key, &["Length", "Filter"])) {
            why = Some(format!("/{}", shown(key)));
        } else {
            match (self.packet(&was), self.packet(&is)) {
                (Some(was), Some(is)) => match xmp::difference(&was, &is) {
                    Ok(None) => {}
                    Ok(Some(path)) => why = Some(path.replace(char::is_control, "\u{fffd}")),
                    Err(()) => why = Some("XMP".to_owned()),
                },
                _ => why = Some("XMP".to_owned()),
            }
        }
        self.tell_again(old, number);
        if let Some(why) = why {
            self.fault(
                format!("object {number}, the metadata: {why} was changed"),
                format!("元数据（对象{number}）的{why}被改动"),
            );
        }
    }

    fn packet(&self, object: &Object) -> Option<Vec<u8>> {
        let Object::Stream(entries, place) = object else {
            return None;
        };
        let bytes = self.file.get(place.clone())?;
        let mut packet = Vec::new();
        let most = u64::try_from(PACKET).ok()? + 1;
        match entries.get(b"Filter".as_slice()) {
            None => bytes.take(most).read_to_end(&mut packet).ok()?,
            Some(filter) if filter.is_name("FlateDecode") => {
                let inflated = ZlibDecoder::new(bytes);
                inflated.take(most).read_to_end(&mut packet).ok()?
            }
            Some(_) => return None,
        };
        (packet.len() <= PACKET).then_some(packet)
    }

    /// The tags of a seal: a Form element of its widget, at the end of an element that was there.
    fn structure(&mut self, old: &Object, new: &Object, fields: &[u32]) {
        let Some(root) = new.get("StructTreeRoot").and_then(Object::reference) else {
            return;
        };
        if old.get("StructTreeRoot").and_then(Object::reference) != Some(root) {
            self.fault(
                format!("object {root}, the root of the tags, is another"),
                format!("标签树根（对象{root}）被替换"),
            );
            return;
        }
        // The tree and the kids both name an element.
        let mut met = BTreeSet::new();
        let (old, new) = (self.before(root), self.now(root));
        let trees = (old.get("ParentTree"), new.get("ParentTree"));
        let (was, is) = (self.was(trees.0), self.is(trees.1));
        let touched = |value: Option<&Object>| {
            let number = value.and_then(Object::reference);
            number.is_some_and(|number| self.new.contains_key(&number))
        };
        if self.new.contains_key(&root) || touched(trees.1) || touched(is.get("Nums")) {
            let known = ["ParentTree", "ParentTreeNextKey", "K"];
            let key = changed(&old, &new);
            let key = key.iter().find(|key| !is_in(key, &known)).cloned();
            let tree = changed(&was, &is);
            let tree = tree.iter().find(|key| !is_in(key, &["Nums"])).cloned();
            if let Some(key) = key.or(tree) {
                let key = shown(&key);
                self.fault(
                    format!("object {root}, the root of the tags: /{key} was changed"),
                    format!("标签树根（对象{root}）的/{key}被改动"),
                );
            }
            self.tell(root);
            if let Some(number) = trees.1.and_then(Object::reference)
                && trees.0 == trees.1
            {
                self.tell(number);
            }
            let (nums, more) = (was.get("Nums").cloned(), is.get("Nums").cloned());
            let pairs = self.extended(nums.as_ref(), more.as_ref(), Role::Structure);
            let kids = self.extended(old.get("K"), new.get("K"), Role::Structure);
            let Some(((nums, pairs), (_, kids))) = pairs.zip(kids) else {
                self.fault(
                    format!("object {root}, the root of the tags: a tag was taken out or replaced"),
                    format!("标签树根（对象{root}）的标签被删除或替换"),
                );
                return;
            };
            let keys = nums.iter().chain(&pairs).step_by(2).map(Object::number);
            if !keys.is_sorted_by(|one, next| one < next) {
                self.fault(
                    format!("object {root}, the root of the tags: a key of ParentTree is not new"),
                    format!("标签树根（对象{root}）：ParentTree的键并非新增"),
                );
            }
            let values = pairs.into_iter().skip(1).step_by(2);
            for element in values.chain(kids) {
                self.form_element(&element, fields, root, &mut met);
            }
        }
        let elements: Vec<u32> = self.new.keys().copied().collect();
        for number in elements {
            let (old, new) = (self.before(number), self.now(number));
            let is_element = old.get("S").is_some() && old.get("P").is_some();
            if !is_element || self.told.contains(&number) || self.same(&old, &new) {
                continue;
            }
            self.tell(number);
            let key = changed(&old, &new).into_iter().find(|key| key != b"K");
            let kids = self.extended(old.get("K"), new.get("K"), Role::Structure);
            match (key, kids) {
                (None, Some((_, more))) => {
                    for element in more {
                        self.form_element(&element, fields, number, &mut met);
                    }
                }
                (key, _) => {
                    let key = key.map_or("K".to_owned(), |key| shown(&key));
                    self.fault(
                        format!("object {number}, a tag of the document: /{key} was changed"),
                        format!("文档标签（对象{number}）的/{key}被改动"),
                    );
                }
            }
        }
    }

    /// A new element that holds the widget of a field, and nothing else.
    fn form_element(
        &mut self,
        element: &Object,
        fields: &[u32],
        from: u32,
        met: &mut BTreeSet<u32>,
    ) {
        const KNOWN: [&str; 9] = ["Type", "S", "P", "K", "Pg", "Alt", "T", "ID", "Lang"];
        let number = element.reference().unwrap_or(from);
        if element.reference().is_some() && !met.insert(number) {
            return;
        }
        // One that is no object of its own would bring its kid each time.
        let element = match element {
            Object::Reference(_) => self.claimed_once(Some(element), Role::Structure),
            _ => Object::Null,
        };
        let kid = self.claimed_once(element.get("K"), Role::Structure);
        let kid = match kid {
            Object::Array(mut items) if items.len() == 1 => {
                let kid = items.pop();
                self.claimed_once(kid.as_ref(), Role::Structure)
            }
            kid => kid,
        };
        let entries = element.entries();
        let plain = entries.is_some_and(|entries| entries.keys().all(|key| is_in(key, &KNOWN)));
        let of = kid.get("Obj").and_then(Object::reference);
        let fits = plain
            && element.get("S").is_some_and(|kind| kind.is_name("Form"))
            && kid.get("Type").is_some_and(|kind| kind.is_name("OBJR"))
            && of.is_some_and(|field| fields.contains(&field))
            && self.owned.get(&number) == Some(&Role::Structure);
        self.more = true;
        if !fits {
            self.fault(
                format!("object {number}, an added tag, is not the Form of a signature's field"),
                format!("新增的标签（对象{number}）不是签名域的Form标签"),
            );
        }
    }

    /// Certificates and revocation data, which nothing shows.
    fn certificates(&mut self, catalog: &Object, root: u32) {
        const KNOWN: [&str; 5] = ["Type", "Certs", "CRLs", "OCSPs", "VRI"];
        let Some(value) = catalog.get("DSS") else {
            return;
        };
        self.walk(value, Role::Certificates, root);
        let store = self.is(Some(value));
        let unknown = store.entries().and_then(|store| {
            let mut keys = store.keys();
            keys.find(|key| !is_in(key, &KNOWN)).cloned()
        });
        if let Some(key) = unknown {
            let key = shown(&key);
            self.fault(
                format!("the document security store has /{key}"),
                format!("文档安全存储（DSS）含有/{key}"),
            );
        }
    }

    /// Whether this update brings any.
    fn brings_certificates(&self, trailer: &Dictionary, revision: &Revision) -> bool {
        let store = |catalog: Object| catalog.get("DSS").cloned();
        let was = reference(trailer, "Root").and_then(|root| store(self.before(root)));
        let is = reference(&revision.trailer, "Root").and_then(|root| store(self.now(root)));
        let owned = |number: &u32| self.owned.get(number) == Some(&Role::Certificates);
        is.is_some() && (is != was || self.told.iter().any(owned))
    }

    /// What was told for nowhere.
    fn left_over(&mut self) {
        let left: Vec<u32> = self.new.keys().copied().collect();
        for number in left {
            if self.told.contains(&number) {
                continue;
            }
            if self.faults.len() >= FAULTS {
                return;
            }
            let now = self.now(number);
            let kind = kind(&now);
            if !self.places.contains_key(&number) {
                self.fault(
                    format!("object {number} ({kind}) was added and belongs to no signature"),
                    format!("新增的对象{number}（{kind}）不属于任何签名"),
                );
                continue;
            }
            let before = self.before(number);
            if !self.same(&before, &now) {
                let kind = self::kind(&before);
                self.fault(
                    format!("object {number} ({kind}) was replaced"),
                    format!("对象{number}（{kind}）被替换"),
                );
            }
        }
    }
}

/// The keys of two dictionaries under which they differ.
fn changed(old: &Object, new: &Object) -> Vec<Vec<u8>> {
    let none = Dictionary::new();
    let alike = std::mem::discriminant(old) == std::mem::discriminant(new);
    if !alike && *old != Object::Null {
        // A stream in place of a dictionary: the whole of it, which no list of keys has.
        return vec![Vec::new()];
    }
    let (old, new) = (
        old.entries().unwrap_or(&none),
        new.entries().unwrap_or(&none),
    );
    let keys: BTreeSet<&Vec<u8>> = old.keys().chain(new.keys()).collect();
    let differ = keys
        .into_iter()
        .filter(|key| old.get(*key) != new.get(*key));
    differ.cloned().collect()
}

fn reference(trailer: &Dictionary, key: &str) -> Option<u32> {
    trailer.get(key.as_bytes())?.reference()
}

/// So many numbers.
fn numbers<const N: usize>(value: Option<&Object>) -> Option<[f64; N]> {
    let items = value?.array()?.iter().map(Object::number);
    items.collect::<Option<Vec<f64>>>()?.try_into().ok()
}

fn is_in(key: &[u8], known: &[&str]) -> bool {
    known.iter().any(|known| known.as_bytes() == key)
}

/// A name, fit for a terminal.
fn shown(name: &[u8]) -> String {
    let name = String::from_utf8_lossy(name);
    name.replace(char::is_control, "\u{fffd}")
}

/// What an object is, as a PDF calls it.
fn kind(object: &Object) -> String {
    let named = object.get("Type").or_else(|| object.get("Subtype"));
    match (named, object) {
        (Some(Object::Name(name)), _) => format!("/{}", shown(name)),
        (_, Object::Stream(..)) => "stream".to_owned(),
        (_, Object::Dictionary(_)) => "dictionary".to_owned(),
        (_, Object::Array(_)) => "array".to_owned(),
        _ => "value".to_owned(),
    }
}
