//! Header blocks: names and values, compressed with the protocol's dictionary.
//!
//! A block's stream is zlib with a preset dictionary. The library below takes none, so both sides work on the raw stream:
//! what is written never refers to the dictionary (which a reader may have in vain), and the reader is given the
//! dictionary as a stored block, which puts it where references look.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};

use super::{CONTROL_BYTES_MAX, Error, Headers};

const NAMES_MAX: usize = 1000;

/// The first bytes of a stream: deflate, the dictionary is needed, its Adler-32.
const STREAM_PREFIX: [u8; 6] = [0x78, 0xbb, 0xe3, 0xc6, 0xa7, 0xc2];

/// The dictionary's first part, each word with its length before it; `~` is a space.
const WORDS: &str = "\
    options head post put delete trace accept accept-charset accept-encoding accept-language \
    accept-ranges age allow authorization cache-control connection content-base content-encoding \
    content-language content-length content-location content-md5 content-range content-type date etag \
    expect expires from host if-match if-modified-since if-none-match if-range if-unmodified-since \
    last-modified location max-forwards pragma proxy-authenticate proxy-authorization range referer \
    retry-after server te trailer transfer-encoding upgrade user-agent vary via warning www-authenticate \
    method get status 200~OK version HTTP/1.1 url public set-cookie keep-alive origin";

/// The dictionary's second part, as it is.
const TAIL: &str = "\
    100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505203 Non-Au\
    thoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidd\
    en404 Not Found500 Internal Server Error501 Not Implemented503 Service UnavailableJan Feb Mar Apr Ma\
    y Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,imag\
    e/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,text/javascript,publicpri\
    vatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0.";

/// The dictionary of SPDY/3's header blocks (draft 3, section 2.6.10.1).
pub(super) fn dictionary() -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in WORDS.split_whitespace() {
        append_text(&word.replace('~', " "), &mut bytes);
    }
    bytes.extend(TAIL.as_bytes());
    bytes
}

fn append_text(text: &str, out: &mut Vec<u8>) {
    out.extend(u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend(text.as_bytes());
}

pub(super) struct Deflater {
    compress: Compress,
    begun: bool,
}

impl Deflater {
    pub fn new() -> Self {
        Self { compress: Compress::new(Compression::default(), false), begun: false }
    }

    pub fn append(&mut self, headers: &Headers, out: &mut Vec<u8>) -> Result<(), Error> {
        let mut block = u32::try_from(headers.len()).unwrap_or(u32::MAX).to_be_bytes().to_vec();
        for (name, value) in headers {
            append_text(&name.to_ascii_lowercase(), &mut block);
            append_text(value, &mut block);
        }
        if !self.begun {
            out.extend(STREAM_PREFIX);
            self.begun = true;
        }
        let begin = self.compress.total_in();
        loop {
            out.reserve(block.len() + 64);
            let done = usize::try_from(self.compress.total_in() - begin).unwrap_or(usize::MAX);
            let rest = block.get(done..).unwrap_or_default();
            self.compress
                .compress_vec(rest, out, FlushCompress::Sync)
                .map_err(|_| Error::HeaderBlock("it cannot be compressed"))?;
            // Room that is left tells that the flush is complete.
            if out.len() < out.capacity() {
                return Ok(());
            }
        }
    }
}

pub(super) struct Inflater {
    decompress: Decompress,
    begun: bool,
}

impl Inflater {
    pub fn new() -> Self {
        Self { decompress: Decompress::new(false), begun: false }
    }

    pub fn headers(&mut self, compressed: &[u8]) -> Result<Headers, Error> {
        let mut compressed = compressed;
        if !self.begun {
            compressed = self.begin(compressed)?;
            self.begun = true;
        }
        parse(&self.inflate(compressed)?)
    }

    fn begin<'a>(&mut self, compressed: &'a [u8]) -> Result<&'a [u8], Error> {
        let (prefix, rest) =
            compressed.split_first_chunk::<6>().ok_or(Error::HeaderBlock("the stream's beginning is missing"))?;
        // The second byte also tells the writer's level.
        if prefix[0] & 0x0f != 8 || prefix[1] & 0x20 == 0 || prefix[2..] != STREAM_PREFIX[2..] {
            return Err(Error::HeaderBlock("the stream does not begin with the protocol's dictionary"));
        }
        let dictionary = dictionary();
        let length = u16::try_from(dictionary.len()).unwrap_or(u16::MAX);
        let mut stored = vec![0];
        stored.extend(length.to_le_bytes());
        stored.extend((!length).to_le_bytes());
        stored.extend(dictionary);
        self.inflate(&stored)?;
        Ok(rest)
    }

    fn inflate(&mut self, compressed: &[u8]) -> Result<Vec<u8>, Error> {
        let begin = self.decompress.total_in();
        let mut out = Vec::new();
        loop {
            out.reserve(4096);
            let done = usize::try_from(self.decompress.total_in() - begin).unwrap_or(usize::MAX);
            let rest = compressed.get(done..).unwrap_or_default();
            self.decompress
                .decompress_vec(rest, &mut out, FlushDecompress::Sync)
                .map_err(|_| Error::HeaderBlock("it cannot be inflated"))?;
            if out.len() > CONTROL_BYTES_MAX {
                return Err(Error::HeaderBlock("it is too large"));
            }
            if out.len() < out.capacity() {
                return Ok(out);
            }
        }
    }
}

fn parse(block: &[u8]) -> Result<Headers, Error> {
    const SHORT: Error = Error::HeaderBlock("it ends too early");
    let mut rest = block;
    let word = |rest: &mut &[u8]| -> Result<usize, Error> {
        let (length, after) = rest.split_first_chunk::<4>().ok_or(SHORT)?;
        *rest = after;
        Ok(u32::from_be_bytes(*length) as usize)
    };
    let text = |rest: &mut &[u8]| -> Result<String, Error> {
        let length = word(rest)?;
        let (text, after) = rest.split_at_checked(length).ok_or(SHORT)?;
        *rest = after;
        String::from_utf8(text.to_vec()).map_err(|_| Error::HeaderBlock("it is not text"))
    };
    let (count, after) = rest.split_first_chunk::<4>().ok_or(SHORT)?;
    let count = u32::from_be_bytes(*count) as usize;
    rest = after;
    if count > NAMES_MAX {
        return Err(Error::HeaderBlock("it has too many names"));
    }
    (0..count).map(|_| Ok((text(&mut rest)?, text(&mut rest)?))).collect()
}
