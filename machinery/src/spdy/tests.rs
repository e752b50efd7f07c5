//! SPDY frames, byte by byte.

use super::*;

fn headers(pairs: &[(&str, &str)]) -> Headers {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn frames(decoder: &mut Decoder) -> Vec<Frame> {
    std::iter::from_fn(|| decoder.next_frame().unwrap()).collect()
}

#[test]
fn the_dictionary_is_the_protocols() {
    let dictionary = header::dictionary();
    let (mut a, mut b) = (1u32, 0u32);
    for byte in &dictionary {
        a = (a + u32::from(*byte)) % 65521;
        b = (b + a) % 65521;
    }
    assert_eq!((dictionary.len(), b << 16 | a), (1423, 0xe3c6_a7c2));
}

#[test]
fn every_frame_comes_back() {
    let all = [
        Frame::SynStream {
            stream: 1,
            associated: 0,
            priority: 3,
            fin: false,
            headers: headers(&[("streamtype", "error")]),
        },
        Frame::SynReply { stream: 1, fin: false, headers: headers(&[]) },
        Frame::SynStream {
            stream: 3,
            associated: 1,
            priority: 0,
            fin: true,
            headers: headers(&[("a", "b\0c"), ("port", "80")]),
        },
        Frame::Headers { stream: 3, fin: true, headers: headers(&[("x", "")]) },
        Frame::RstStream { stream: 3, status: RST_CANCEL },
        Frame::Settings { clear: true, values: vec![Setting { flags: 1, id: 7, value: 65536 }] },
        Frame::Ping { id: 2 },
        Frame::GoAway { last_good: 3, status: 0 },
        Frame::WindowUpdate { stream: 1, delta: 9 },
        Frame::Data { stream: 1, fin: false, data: b"hello".to_vec() },
        Frame::Data { stream: 1, fin: true, data: Vec::new() },
    ];
    let (mut encoder, mut decoder, mut wire) = (Encoder::default(), Decoder::default(), Vec::new());
    for frame in &all {
        encoder.encode(frame, &mut wire).unwrap();
    }
    // Byte for byte, as a slow connection brings them.
    let mut found = Vec::new();
    for byte in wire {
        decoder.push(&[byte]);
        found.extend(frames(&mut decoder));
    }
    assert_eq!(found, all);
}

/// Written by zlib with the dictionary, to which both blocks refer.
#[test]
fn reads_what_another_library_compressed() {
    let mut decoder = Decoder::default();
    decoder.push(&bytes(
        "80030001 00000028 00000001 00000000 0000
         78bbe3c6a7c202a62346703a2b294a4dcc851625aca9a08006000000ffff",
    ));
    decoder.push(&bytes("80030002 00000017 00000001 02651c4ca9e2126076c152fc70c24301000000ffff"));
    let first = headers(&[("streamtype", "error")]);
    let second = headers(&[("streamtype", "stdin"), ("content-type", "text/html")]);
    let expected = [
        Frame::SynStream { stream: 1, associated: 0, priority: 0, fin: false, headers: first },
        Frame::SynReply { stream: 1, fin: false, headers: second },
    ];
    assert_eq!(frames(&mut decoder), expected);
}

/// `echo hi` in containerd 1.6, from its replies to the end: streams 1 error, 3 stdout, 5 stderr.
#[test]
fn reads_what_containerd_wrote() {
    let mut decoder = Decoder::default();
    decoder.push(&bytes(
        "80030002 00000014 00000001 78f9e3c6a7c2 62606060 00000000ffff
         80030002 0000000c 00000005 026100000000ffff
         80030002 0000000c 00000003 026100000000ffff
         00000003 00000003 68690a
         00000005 01000000
         00000003 01000000
         00000001 00000022 7b226d65746164617461223a7b7d2c22737461747573223a2253756363657373227d
         80030003 00000008 00000001 00000005
         80030007 00000008 00000005 00000000",
    ));
    let reply = |stream| Frame::SynReply { stream, fin: false, headers: Vec::new() };
    let end = |stream| Frame::Data { stream, fin: true, data: Vec::new() };
    let status = br#"{"metadata":{},"status":"Success"}"#.to_vec();
    let expected = [
        reply(1),
        reply(5),
        reply(3),
        Frame::Data { stream: 3, fin: false, data: b"hi\n".to_vec() },
        end(5),
        end(3),
        Frame::Data { stream: 1, fin: false, data: status },
        Frame::RstStream { stream: 1, status: RST_CANCEL },
        Frame::GoAway { last_good: 5, status: 0 },
    ];
    assert_eq!(frames(&mut decoder), expected);
}

#[test]
fn plain_frames_have_the_protocols_bytes() {
    let table = [
        (Frame::Ping { id: 1 }, "80030006 00000004 00000001"),
        (Frame::GoAway { last_good: 2, status: 0 }, "80030007 00000008 00000002 00000000"),
        (Frame::RstStream { stream: 5, status: 5 }, "80030003 00000008 00000005 00000005"),
        (Frame::Data { stream: 3, fin: true, data: b"ab".to_vec() }, "00000003 01000002 6162"),
        (Frame::WindowUpdate { stream: 3, delta: 16 }, "80030009 00000008 00000003 00000010"),
    ];
    for (frame, hex) in table {
        let mut out = Vec::new();
        Encoder::default().encode(&frame, &mut out).unwrap();
        assert_eq!(out, bytes(hex), "{frame:?}");
    }
}

#[test]
fn broken_bytes_are_errors() {
    let table = [
        ("80020006 00000004 00000001", Error::Version(2)),
        ("80030005 00000000", Error::UnknownFrame(5)),
        ("80030006 00000002 0000", Error::Length { kind: kind::PING, length: 2 }),
        ("80030004 00000004 00000001", Error::Length { kind: kind::SETTINGS, length: 4 }),
        ("80030001 00ffffff", Error::TooLarge(0xff_ffff)),
        (
            "80030002 0000000a 00000001 789c00000000",
            Error::HeaderBlock("the stream does not begin with the protocol's dictionary"),
        ),
    ];
    for (hex, error) in table {
        let mut decoder = Decoder::default();
        decoder.push(&bytes(hex));
        assert_eq!(decoder.next_frame(), Err(error), "{hex}");
    }
}
