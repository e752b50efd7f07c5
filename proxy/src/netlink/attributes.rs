//! Netlink attributes: length, type, value, filled up to four bytes. Netfilter's numbers are big-endian.

const NESTED: u16 = 0x8000;
/// Above it are flags.
const KIND: u16 = 0x3fff;

/// Writes attributes behind what is there.
pub(crate) struct Attributes<'a>(pub(crate) &'a mut Vec<u8>);

impl Attributes<'_> {
    pub(crate) fn bytes(&mut self, kind: u16, value: &[u8]) {
        self.with(kind, |bytes| bytes.extend(value));
    }

    pub(crate) fn number(&mut self, kind: u16, value: u32) {
        self.bytes(kind, &value.to_be_bytes());
    }

    pub(crate) fn long(&mut self, kind: u16, value: u64) {
        self.bytes(kind, &value.to_be_bytes());
    }

    /// With the zero that ends strings in the kernel.
    pub(crate) fn string(&mut self, kind: u16, value: &str) {
        self.with(kind, |bytes| {
            bytes.extend(value.as_bytes());
            bytes.push(0);
        });
    }

    /// An attribute that holds attributes: at most 65,531 bytes of them.
    pub(crate) fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Attributes)) {
        self.with(kind | NESTED, |bytes| fill(&mut Attributes(bytes)));
    }

    fn with(&mut self, kind: u16, fill: impl FnOnce(&mut Vec<u8>)) {
        let at = self.0.len();
        self.0.extend([0; 2]);
        self.0.extend(kind.to_ne_bytes());
        fill(self.0);
        let length = (self.0.len() - at) as u16;
        self.0[at..at + 2].copy_from_slice(&length.to_ne_bytes());
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }
}

/// The attributes in what was received; what is broken ends them.
pub(crate) struct Parsed<'a>(pub(crate) &'a [u8]);

impl<'a> Parsed<'a> {
    /// The value of the first of a kind.
    pub(crate) fn get(&self, kind: u16) -> Option<&'a [u8]> {
        Parsed(self.0).find_map(|(of, value)| (of == kind).then_some(value))
    }

    /// Those within one of a kind.
    pub(crate) fn nested(&self, kind: u16) -> Option<Parsed<'a>> {
        self.get(kind).map(Parsed)
    }

    pub(crate) fn number(&self, kind: u16) -> Option<u32> {
        self.get(kind).and_then(|value| value.try_into().ok()).map(u32::from_be_bytes)
    }

    pub(crate) fn string(&self, kind: u16) -> Option<&'a str> {
        let value = self.get(kind)?;
        str::from_utf8(value.strip_suffix(&[0]).unwrap_or(value)).ok()
    }
}

impl<'a> Iterator for Parsed<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (header, rest) = self.0.split_first_chunk::<4>()?;
        let [l0, l1, k0, k1] = *header;
        let length = usize::from(u16::from_ne_bytes([l0, l1])).checked_sub(header.len())?;
        let value = rest.get(..length)?;
        self.0 = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((u16::from_ne_bytes([k0, k1]) & KIND, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read() {
        let mut bytes = Vec::new();
        let mut attributes = Attributes(&mut bytes);
        attributes.string(1, "kube");
        attributes.nest(2, |nested| nested.number(7, 5));
        attributes.bytes(3, &[9]);
        let parsed = || Parsed(&bytes);
        assert_eq!(parsed().string(1), Some("kube"));
        assert_eq!(parsed().nested(2).unwrap().number(7), Some(5));
        assert_eq!(parsed().get(3), Some(&[9][..]));
        assert_eq!((parsed().get(4), parsed().number(3)), (None, None));
        assert_eq!(parsed().count(), 3);
    }

    #[test]
    fn what_is_cut_short_ends_the_list() {
        let mut bytes = Vec::new();
        Attributes(&mut bytes).string(1, "kube-proxy");
        for length in 0..bytes.len() - 1 {
            assert_eq!(Parsed(&bytes[..length]).count(), 0, "{length}");
        }
        assert_eq!(Parsed(&[3, 0, 1, 0]).count(), 0, "shorter than its header");
    }
}
