//! What XMP says, however it is written (ISO 16684-1): programs that sign write it anew.

use std::collections::BTreeMap;

use roxmltree::{Document, Node, ParsingOptions};

/// The most nodes of a packet.
const NODES: u32 = 10_000;

/// How deep its properties may nest.
const DEPTH: usize = 16;

const RDF: &str = "http://www.w3.org/1999/02/22-rdf-syntax-ns#";
const XML: &str = "http://www.w3.org/XML/1998/namespace";

/// Who saved a document when. All else is about the document itself.
const SAVED: [&str; 4] = [
    "/{http://ns.adobe.com/xap/1.0/}ModifyDate",
    "/{http://ns.adobe.com/xap/1.0/}MetadataDate",
    "/{http://ns.adobe.com/xap/1.0/mm/}InstanceID",
    "/{http://ns.adobe.com/pdf/1.3/}Producer",
];

/// The first property that two packets don't agree upon, but for who saved them when; none, if
/// they do.
///
/// # Errors
/// When one is none that can be read.
pub fn difference(old: &[u8], new: &[u8]) -> Result<Option<String>, ()> {
    let (old, new) = (properties(old).ok_or(())?, properties(new).ok_or(())?);
    let changed = |of: &BTreeMap<String, String>, than: &BTreeMap<String, String>| {
        let mut paths = of.iter().filter(|(path, value)| {
            !SAVED.contains(&path.as_str()) && than.get(*path) != Some(*value)
        });
        paths.next().map(|(path, _)| path.clone())
    };
    Ok(changed(&old, &new).or_else(|| changed(&new, &old)))
}

/// Each value by its path: the same for a property that is an attribute and one that is an element.
fn properties(packet: &[u8]) -> Option<BTreeMap<String, String>> {
    let text = std::str::from_utf8(packet).ok()?.trim_matches(['\0', ' ']);
    let options = ParsingOptions {
        nodes_limit: NODES,
        ..ParsingOptions::default()
    };
    let document = Document::parse_with_options(text, options).ok()?;
    let is_rdf = |node: &Node| node.has_tag_name((RDF, "RDF"));
    let mut each = document.descendants().filter(is_rdf);
    let (Some(rdf), None) = (each.next(), each.next()) else {
        return None;
    };
    let mut found = BTreeMap::new();
    for description in rdf.children().filter(Node::is_element) {
        resource(description, "", DEPTH, &mut found)?;
    }
    Some(found)
}

/// The properties of a thing.
fn resource(
    thing: Node,
    path: &str,
    depth: usize,
    found: &mut BTreeMap<String, String>,
) -> Option<()> {
    let depth = depth.checked_sub(1)?;
    let named = |namespace: Option<&str>, name: &str| {
        let namespace = namespace.unwrap_or_default();
        // Or one path could be written as another.
        let plain = !namespace.contains(['{', '}']);
        plain.then(|| format!("{path}/{{{namespace}}}{name}"))
    };
    for attribute in thing.attributes() {
        let (namespace, name) = (attribute.namespace(), attribute.name());
        match (namespace, name) {
            (Some(RDF), "parseType") => {}
            (Some(RDF), "about") if attribute.value().is_empty() => {}
            _ => add(named(namespace, name)?, attribute.value().to_owned(), found)?,
        }
    }
    for child in thing.children() {
        if child.is_element() {
            let tag = child.tag_name();
            property(child, named(tag.namespace(), tag.name())?, depth, found)?;
        } else if child.is_text() && !child.text().unwrap_or_default().trim().is_empty() {
            return None;
        }
    }
    Some(())
}

/// A property and its value: text, a list, or a thing with properties of its own.
fn property(
    element: Node,
    path: String,
    depth: usize,
    found: &mut BTreeMap<String, String>,
) -> Option<()> {
    let depth = depth.checked_sub(1)?;
    if element.attribute((RDF, "parseType")) == Some("Resource") {
        return resource(element, &path, depth, found);
    }
    for attribute in element.attributes() {
        let value = attribute.value().to_owned();
        match (attribute.namespace(), attribute.name()) {
            (Some(RDF), "resource") => add(path.clone(), value, found)?,
            (Some(XML), "lang") => add(format!("{path}@lang"), value, found)?,
            _ => return None,
        }
    }
    let mut children = element.children().filter(Node::is_element);
    match (children.next(), children.next()) {
        (None, _) if element.has_attribute((RDF, "resource")) => Some(()),
        (None, _) => {
            let texts = element.children().filter_map(|node| node.text());
            add(path, texts.collect(), found)
        }
        (Some(thing), None) if thing.has_tag_name((RDF, "Description")) => {
            resource(thing, &path, depth, found)
        }
        (Some(list), None) if list.tag_name().namespace() == Some(RDF) => {
            let items = list.children().filter(Node::is_element);
            for (index, item) in items.enumerate() {
                let path = format!("{path}/{}[{index}]", list.tag_name().name());
                property(item, path, depth, found)?;
            }
            Some(())
        }
        _ => None,
    }
}

/// A path has one value only.
fn add(path: String, value: String, found: &mut BTreeMap<String, String>) -> Option<()> {
    found.insert(path, value).is_none().then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(about: &str) -> Vec<u8> {
        format!(
            r#"<?xpacket begin=""?><x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="{RDF}"
            ><rdf:Description rdf:about="" xmlns:dc="urn:dc" xmlns:xmp="http://ns.adobe.com/xap/1.0/"
            {about}</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>"#
        )
        .into_bytes()
    }

    #[test]
    fn the_same_in_other_words_is_the_same() {
        let old = packet(
            r#"><dc:a>1</dc:a><xmp:ModifyDate>2020</xmp:ModifyDate><dc:t><rdf:Alt><rdf:li
            xml:lang="zh">x</rdf:li></rdf:Alt></dc:t><dc:s rdf:parseType="Resource"><dc:u>v</dc:u
            ></dc:s>"#,
        );
        let new = packet(
            r#" dc:a="1" xmp:ModifyDate="2026"><dc:s><rdf:Description dc:u="v"/></dc:s><dc:t
            ><rdf:Alt><rdf:li xml:lang="zh">x</rdf:li></rdf:Alt></dc:t>"#,
        );
        assert_eq!(difference(&old, &new), Ok(None));
    }

    #[test]
    fn another_value_one_more_and_one_less_are_differences() {
        let old = packet(r#" dc:a="1">"#);
        let other = Ok(Some("/{urn:dc}a".to_owned()));
        assert_eq!(difference(&old, &packet(r#" dc:a="2">"#)), other);
        assert_eq!(difference(&old, &packet(">")), other);
        assert_eq!(difference(&packet(">"), &old), other);
    }

    #[test]
    fn what_says_a_thing_twice_or_nests_without_end_is_not_read() {
        let old = packet(r#" dc:a="1">"#);
        let twice = packet(r#" dc:a="1"><dc:a>2</dc:a>"#);
        assert_eq!(difference(&old, &twice), Err(()));
        let deep = "<dc:a rdf:parseType='Resource'>".repeat(100);
        let deep = format!(">{deep}{}", "</dc:a>".repeat(100));
        assert_eq!(difference(&old, &packet(&deep)), Err(()));
        assert_eq!(difference(&old, b"<"), Err(()));
    }
}
