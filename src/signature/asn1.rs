//! DER, item by item (ITU-T X.690): nothing is copied, nothing nests deeper than who reads it asks.

use der::{Encode as _, Reader as _, SliceReader};

/// One value with its tag and length.
#[derive(Debug, Clone, Copy)]
pub struct Item<'a> {
    /// The tag's octet.
    pub tag: u8,
    pub value: &'a [u8],
    /// With tag and length.
    pub whole: &'a [u8],
}

impl<'a> Item<'a> {
    /// What is in it.
    pub fn inside(self) -> Option<Items<'a>> {
        Items::of(self.value)
    }
}

/// Values one after the other.
pub struct Items<'a>(Option<SliceReader<'a>>);

impl<'a> Items<'a> {
    pub fn of(bytes: &'a [u8]) -> Option<Items<'a>> {
        match bytes {
            [] => Some(Items(None)),
            bytes => SliceReader::new(bytes)
                .ok()
                .map(|reader| Items(Some(reader))),
        }
    }

    fn left(&self) -> Option<&SliceReader<'a>> {
        self.0.as_ref().filter(|reader| !reader.is_finished())
    }

    /// The next one; none at the end, and where there is none that can be read.
    pub fn next(&mut self) -> Option<Item<'a>> {
        self.left()?;
        let reader = self.0.as_mut()?;
        let header = reader.peek_header().ok()?;
        let begin = usize::try_from(header.encoded_len().ok()?).ok()?;
        let whole = reader.tlv_bytes().ok()?;
        Some(Item {
            tag: header.tag.octet(),
            value: whole.get(begin..)?,
            whole,
        })
    }

    /// The next one, if it has this tag.
    pub fn take(&mut self, tag: u8) -> Option<Item<'a>> {
        let next = self.left()?.peek_byte()?;
        (next == tag).then(|| self.next())?
    }

    /// What is in the next one, which has this tag.
    pub fn only(&mut self, tag: u8) -> Option<Items<'a>> {
        self.take(tag)?.inside()
    }

    /// Nothing is left.
    pub fn done(&self) -> Option<()> {
        self.left().is_none().then_some(())
    }
}
