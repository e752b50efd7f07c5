//! Netlink attributes: length, type, value, filled up to four bytes. nf_tables' numbers are big-endian.

const NESTED: u16 = 0x8000;

/// Writes attributes behind what is there.
pub(super) struct Attributes<'a>(pub(super) &'a mut Vec<u8>);

impl Attributes<'_> {
    pub(super) fn bytes(&mut self, kind: u16, value: &[u8]) {
        self.with(kind, |bytes| bytes.extend(value));
    }

    pub(super) fn number(&mut self, kind: u16, value: u32) {
        self.bytes(kind, &value.to_be_bytes());
    }

    pub(super) fn long(&mut self, kind: u16, value: u64) {
        self.bytes(kind, &value.to_be_bytes());
    }

    /// With the zero that ends strings in the kernel.
    pub(super) fn string(&mut self, kind: u16, value: &str) {
        self.with(kind, |bytes| {
            bytes.extend(value.as_bytes());
            bytes.push(0);
        });
    }

    /// An attribute that holds attributes: at most 65,531 bytes of them.
    pub(super) fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Attributes)) {
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
