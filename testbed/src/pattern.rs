//! Lines as tests expect them where not all can be foretold. Pure.

/// Whether a line has the pieces between the pattern's `…`, in order; columns may be padded differently.
pub fn fits(line: &str, pattern: &str) -> bool {
    let squeeze = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let (line, pattern) = (squeeze(line), squeeze(pattern));
    let pieces: Vec<&str> = pattern.split('…').map(str::trim).collect();
    let [first, middle @ .., last] = &pieces[..] else { return line == pattern };
    let Some(mut rest) = line.strip_prefix(first) else { return false };
    for piece in middle {
        let Some(at) = rest.find(piece) else { return false };
        rest = &rest[at + piece.len()..];
    }
    rest.ends_with(last)
}

#[test]
fn pieces_come_in_order_and_padding_does_not_count() {
    assert!(fits("blue   ClusterIP  10.0.0.7 3s", "blue ClusterIP 10.0.0.… …"));
    assert!(fits("a   b", "a b") && !fits("a b c", "a b"));
    assert!(fits("pod/blue-x", "pod/…") && !fits("pod/red", "pod/b…"));
}
