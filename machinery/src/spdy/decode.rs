//! Bytes to frames.

use super::header::Inflater;
use super::{CONTROL_BYTES_MAX, Error, FLAG_FIN, Frame, Setting, VERSION, kind};

const PREFIX_BYTES: usize = 8;

/// Reads the frames of one direction from bytes as they come.
pub struct Decoder {
    buffer: Vec<u8>,
    /// Where the next frame begins in `buffer`.
    start: usize,
    inflater: Inflater,
}

impl Default for Decoder {
    fn default() -> Self {
        Self { buffer: Vec::new(), start: 0, inflater: Inflater::new() }
    }
}

impl Decoder {
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.start);
        self.start = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next frame, or none until more bytes are pushed. After an error the decoder is of no use.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, Error> {
        let rest = &self.buffer[self.start..];
        let Some((prefix, rest)) = rest.split_first_chunk::<PREFIX_BYTES>() else { return Ok(None) };
        let [a, b, c, d, flags, high, middle, low] = *prefix;
        let length = u32::from_be_bytes([0, high, middle, low]) as usize;
        let is_control = a & 0x80 != 0;
        if is_control && length > CONTROL_BYTES_MAX {
            return Err(Error::TooLarge(length));
        }
        let Some(payload) = rest.get(..length) else { return Ok(None) };
        let frame = if is_control {
            let version = u16::from_be_bytes([a & 0x7f, b]);
            if version != VERSION {
                return Err(Error::Version(version));
            }
            control(u16::from_be_bytes([c, d]), flags, payload, &mut self.inflater)?
        } else {
            let stream = u32::from_be_bytes([a, b, c, d]);
            Frame::Data { stream, fin: flags & FLAG_FIN != 0, data: payload.to_vec() }
        };
        self.start += PREFIX_BYTES + length;
        Ok(Some(frame))
    }
}

fn control(kind: u16, flags: u8, payload: &[u8], inflater: &mut Inflater) -> Result<Frame, Error> {
    let wrong = || Error::Length { kind, length: payload.len() };
    let word = |index: usize| -> Result<u32, Error> {
        let bytes = payload.get(index * 4..).and_then(|rest| rest.first_chunk::<4>()).ok_or_else(wrong)?;
        Ok(u32::from_be_bytes(*bytes))
    };
    let stream = |index: usize| word(index).map(|id| id & 0x7fff_ffff);
    let mut headers = |from: usize| inflater.headers(payload.get(from..).ok_or_else(wrong)?);
    let fin = flags & FLAG_FIN != 0;
    Ok(match kind {
        kind::SYN_STREAM => {
            let priority = payload.get(8).ok_or_else(wrong)? >> 5;
            Frame::SynStream { stream: stream(0)?, associated: stream(1)?, priority, fin, headers: headers(10)? }
        }
        kind::SYN_REPLY => Frame::SynReply { stream: stream(0)?, fin, headers: headers(4)? },
        kind::HEADERS => Frame::Headers { stream: stream(0)?, fin, headers: headers(4)? },
        kind::RST_STREAM => Frame::RstStream { stream: stream(0)?, status: word(1)? },
        kind::PING => Frame::Ping { id: word(0)? },
        kind::GO_AWAY => Frame::GoAway { last_good: stream(0)?, status: word(1)? },
        kind::WINDOW_UPDATE => Frame::WindowUpdate { stream: stream(0)?, delta: stream(1)? },
        kind::SETTINGS => {
            let count = word(0)? as usize;
            if payload.len() != 4 + count.saturating_mul(8) {
                return Err(wrong());
            }
            let setting = |index: usize| -> Result<Setting, Error> {
                let [flags, id @ ..] = word(1 + 2 * index)?.to_be_bytes();
                let id = u32::from_be_bytes([0, id[0], id[1], id[2]]);
                Ok(Setting { flags, id, value: word(2 + 2 * index)? })
            };
            Frame::Settings { clear: flags & 1 != 0, values: (0..count).map(setting).collect::<Result<_, _>>()? }
        }
        kind => return Err(Error::UnknownFrame(kind)),
    })
}
