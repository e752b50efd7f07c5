//! Protobuf's wire format, field by field.

pub(crate) fn varint_field(number: u32, value: u64, out: &mut Vec<u8>) {
    varint(u64::from(number) << 3, out);
    varint(value, out);
}

pub(crate) fn double_field(number: u32, value: f64, out: &mut Vec<u8>) {
    varint((u64::from(number) << 3) | 1, out);
    out.extend_from_slice(&value.to_le_bytes());
}

pub(crate) fn bytes(number: u32, value: &[u8], out: &mut Vec<u8>) {
    varint(u64::from(number) << 3 | 2, out);
    varint(value.len() as u64, out);
    out.extend_from_slice(value);
}

/// Writes the content first and moves it for its length: messages are small and shallow.
pub(crate) fn nested(number: u32, out: &mut Vec<u8>, content: impl FnOnce(&mut Vec<u8>)) {
    varint(u64::from(number) << 3 | 2, out);
    let start = out.len();
    content(out);
    let length = (out.len() - start) as u64;
    match u8::try_from(length) {
        Ok(short) if short < 0x80 => out.insert(start, short),
        _ => {
            let mut prefix = Vec::with_capacity(5);
            varint(length, &mut prefix);
            out.splice(start..start, prefix);
        }
    }
}

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
