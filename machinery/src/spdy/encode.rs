//! Frames to bytes.

use super::header::Deflater;
use super::{Error, FLAG_FIN, Frame, PAYLOAD_BYTES_MAX, Setting, VERSION, kind};

/// Writes the frames of one direction.
pub struct Encoder {
    deflater: Deflater,
}

impl Default for Encoder {
    fn default() -> Self {
        Self { deflater: Deflater::new() }
    }
}

impl Encoder {
    /// Appends a frame to `out`. A failed frame leaves the encoder of no use.
    pub fn encode(&mut self, frame: &Frame, out: &mut Vec<u8>) -> Result<(), Error> {
        match frame {
            Frame::SynStream { stream, associated, priority, fin, headers } => {
                let mut payload = words(&[*stream, *associated]);
                payload.extend([priority << 5, 0]);
                self.deflater.append(headers, &mut payload)?;
                control(out, kind::SYN_STREAM, fin_flag(*fin), &payload)
            }
            Frame::SynReply { stream, fin, headers } => {
                let mut payload = words(&[*stream]);
                self.deflater.append(headers, &mut payload)?;
                control(out, kind::SYN_REPLY, fin_flag(*fin), &payload)
            }
            Frame::Headers { stream, fin, headers } => {
                let mut payload = words(&[*stream]);
                self.deflater.append(headers, &mut payload)?;
                control(out, kind::HEADERS, fin_flag(*fin), &payload)
            }
            Frame::RstStream { stream, status } => control(out, kind::RST_STREAM, 0, &words(&[*stream, *status])),
            Frame::Settings { clear, values } => control(out, kind::SETTINGS, u8::from(*clear), &settings(values)),
            Frame::Ping { id } => control(out, kind::PING, 0, &words(&[*id])),
            Frame::GoAway { last_good, status } => control(out, kind::GO_AWAY, 0, &words(&[*last_good, *status])),
            Frame::WindowUpdate { stream, delta } => control(out, kind::WINDOW_UPDATE, 0, &words(&[*stream, *delta])),
            Frame::Data { stream, fin, data } => {
                out.extend((stream & 0x7fff_ffff).to_be_bytes());
                body(out, fin_flag(*fin), data)
            }
        }
    }
}

fn fin_flag(fin: bool) -> u8 {
    if fin { FLAG_FIN } else { 0 }
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

fn settings(values: &[Setting]) -> Vec<u8> {
    let count = u32::try_from(values.len()).unwrap_or(u32::MAX);
    let pairs = values.iter().flat_map(|one| [u32::from(one.flags) << 24 | one.id & 0x00ff_ffff, one.value]);
    words(&std::iter::once(count).chain(pairs).collect::<Vec<_>>())
}

fn control(out: &mut Vec<u8>, kind: u16, flags: u8, payload: &[u8]) -> Result<(), Error> {
    out.extend((0x8000 | VERSION).to_be_bytes());
    out.extend(kind.to_be_bytes());
    body(out, flags, payload)
}

fn body(out: &mut Vec<u8>, flags: u8, payload: &[u8]) -> Result<(), Error> {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    if payload.len() > PAYLOAD_BYTES_MAX {
        return Err(Error::TooLarge(payload.len()));
    }
    out.extend((u32::from(flags) << 24 | length).to_be_bytes());
    out.extend(payload);
    Ok(())
}
