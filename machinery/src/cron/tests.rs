//! Schedules as tables: when they come round, and what is refused.

use jiff::tz::TimeZone;

use super::{parse, zone};

fn next(schedule: &str, zone_name: &str, after: &str) -> String {
    let schedule = parse(schedule, zone(zone_name).unwrap()).unwrap();
    schedule.next(after.parse().unwrap()).map_or("never".into(), |t| t.to_string())
}

#[test]
fn when_it_comes_round() {
    let rows = [
        ("* * * * *", "", "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z"),
        ("* * * * *", "", "2026-01-01T00:00:59.9Z", "2026-01-01T00:01:00Z"),
        ("*/15 * * * *", "", "2026-01-01T00:15:00Z", "2026-01-01T00:30:00Z"),
        ("*/1 * * * ?", "", "2026-01-01T00:15:01Z", "2026-01-01T00:16:00Z"),
        ("* */1 * * ?", "", "2026-01-01T00:59:01Z", "2026-01-01T01:00:00Z"),
        ("5/20 * * * *", "", "2026-01-01T00:25:00Z", "2026-01-01T00:45:00Z"),
        ("30 6-16/4 * * 1-5", "", "2026-01-02T14:30:00Z", "2026-01-05T06:30:00Z"),
        ("0 0 1 * *", "", "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"),
        ("0 0 29 2 *", "", "2026-01-01T00:00:00Z", "2028-02-29T00:00:00Z"),
        ("59 23 31 2 *", "", "2026-01-01T00:00:00Z", "never"),
        ("0 12 13 * fri", "", "2026-01-01T00:00:00Z", "2026-01-02T12:00:00Z"),
        ("0 12 * jan,JUN Mon", "", "2026-02-01T00:00:00Z", "2026-06-01T12:00:00Z"),
        ("0 12 */1 * fri", "", "2026-01-01T00:00:00Z", "2026-01-02T12:00:00Z"),
        ("@hourly", "", "2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z"),
        ("@daily", "", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"),
        ("@weekly", "", "2026-01-01T00:00:00Z", "2026-01-04T00:00:00Z"),
        ("@monthly", "", "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"),
        ("@yearly", "", "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"),
        ("@every 1h30m", "", "2026-01-01T00:00:00Z", "2026-01-01T01:30:00Z"),
        ("@every 10ms", "", "2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z"),
        // A zone of its own goes before the field's.
        ("TZ=UTC 0 9 * * *", "Asia/Tokyo", "2026-01-01T00:00:00Z", "2026-01-01T09:00:00Z"),
        ("CRON_TZ=Asia/Tokyo 0 9 * * *", "", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"),
        ("0 9 * * *", "America/New_York", "2026-01-01T00:00:00Z", "2026-01-01T14:00:00Z"),
        // 02:30 does not exist on that day, and exists twice on the other.
        ("30 2 * * *", "America/New_York", "2026-03-08T05:00:00Z", "2026-03-09T06:30:00Z"),
        ("30 1 * * *", "America/New_York", "2026-11-01T04:00:00Z", "2026-11-01T05:30:00Z"),
        ("30 1 * * *", "America/New_York", "2026-11-01T05:30:00Z", "2026-11-01T06:30:00Z"),
        ("0 0 * * *", "America/Sao_Paulo", "2018-11-03T04:00:00Z", "2018-11-05T02:00:00Z"),
        ("*/30 * * * *", "Asia/Kolkata", "2026-01-01T00:01:00Z", "2026-01-01T00:30:00Z"),
        ("0 * * * *", "Asia/Kolkata", "2026-01-01T00:01:00Z", "2026-01-01T00:30:00Z"),
    ];
    for (schedule, zone, after, want) in rows {
        assert_eq!(next(schedule, zone, after), want, "{schedule} in {zone:?} after {after}");
    }
}

#[test]
fn what_is_refused() {
    let rows = [
        ("", "empty spec string"),
        ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
        ("* * * * * *", "expected exactly 5 fields, found 6: [* * * * * *]"),
        ("60 * * * *", "end of range (60) above maximum (59): 60"),
        ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
        ("5-3 * * * *", "beginning of range (5) beyond end of range (3): 5-3"),
        ("*/0 * * * *", "step of range should be a positive number: */0"),
        ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
        ("1/2/3 * * * *", "too many slashes: 1/2/3"),
        ("* * * * 7", "end of range (7) above maximum (6): 7"),
        ("x * * * *", "failed to parse int from x: strconv.Atoi: parsing \"x\": invalid syntax"),
        ("@fortnightly", "unrecognized descriptor: @fortnightly"),
        ("@every soon", "failed to parse duration @every soon: time: invalid duration \"soon\""),
        ("@every 5x", "failed to parse duration @every 5x: time: unknown unit \"x\" in duration \"5x\""),
        ("TZ=Mars/Olympus * * * * *", "provided bad location Mars/Olympus: unknown time zone Mars/Olympus"),
    ];
    for (text, want) in rows {
        assert_eq!(parse(text, TimeZone::UTC).unwrap_err().to_string(), want, "{text:?}");
    }
    assert!(parse("TZ=UTC", TimeZone::UTC).is_err());
    let zones = [
        ("Etc/UTC", true),
        ("Europe/Berlin", true),
        ("europe/berlin", false),
        ("Mars/Base", false),
        ("../etc/passwd", false),
        ("Nowhere", false),
    ];
    for (name, known) in zones {
        assert_eq!(zone(name).is_ok(), known, "{name}");
    }
}
