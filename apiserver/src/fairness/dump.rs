//! What waits and runs where, as tables for people who look into a server that is busy (Kubernetes concept: "API Priority
//! and Fairness", Debug endpoints).
//!
//! Enter at [`table`]. Columns and their names are upstream's, the misspelt one too, for scripts cut them out. Pure.

use std::collections::HashMap;
use std::fmt::Display;

use tokio::time::Instant;

use super::level::{Counts, Known, Level};
use super::plan::Plan;
use super::queues::{Digest, RequestDigest, Ticket};

/// What is shown below [`PATH`].
pub const TABLES: [&str; 3] = ["dump_priority_levels", "dump_queues", "dump_requests"];
/// What the tables' paths begin with.
pub const PATH: &str = "/debug/api_priority_and_fairness/";

/// A column is at least so wide, and one blank wider than what is in it.
const WIDTH_MIN: usize = 8;

/// When Go's clock has not been set: of a request that has not begun.
const NEVER: &str = "0001-01-01T00:00:00Z";

const LEVEL_COLUMNS: [&str; 10] = [
    "PriorityLevelName",
    "ActiveQueues",
    "IsIdle",
    "IsQuiescing",
    "WaitingRequests",
    "ExecutingRequests",
    "DispatchedRequests",
    "RejectedRequests",
    "TimedoutRequests",
    "CancelledRequests",
];
const QUEUE_COLUMNS: [&str; 9] = [
    "PriorityLevelName",
    "Index",
    "PendingRequests",
    "ExecutingRequests",
    "SeatsInUse",
    "NextDispatchR",
    "InitialSeatsSum",
    "MaxSeatsSum",
    "TotalWorkSum",
];
const REQUEST_COLUMNS: [&str; 10] = [
    "PriorityLevelName",
    "FlowSchemaName",
    "QueueIndex",
    "RequestIndexInQueue",
    "FlowDistingsher",
    "ArriveTime",
    "InitialSeats",
    "FinalSeats",
    "AdditionalLatency",
    "StartTime",
];
const DETAIL_COLUMNS: [&str; 8] =
    ["UserName", "Verb", "APIPath", "Namespace", "Name", "APIVersion", "Resource", "SubResource"];

/// One moment on two clocks.
pub struct Now {
    pub instant: Instant,
    pub time: jiff::Timestamp,
}

impl Now {
    /// RFC 3339, as exact as the clock.
    fn text(&self, then: Instant) -> String {
        let ago = jiff::SignedDuration::try_from(self.instant.saturating_duration_since(then)).unwrap_or_default();
        self.time.checked_sub(ago).map_or_else(|_| NEVER.to_owned(), |time| time.to_string())
    }
}

type Row = Vec<String>;

/// `None`: there is no table of that name.
pub fn table(plan: &Plan, name: &str, with_details: bool, now: &Now) -> Option<String> {
    let levels = plan.levels().map(|planned| planned.level.as_ref());
    let rows: Vec<Row> = match name {
        "dump_priority_levels" => {
            let rows = plan.levels().map(|planned| of_level(&planned.level, planned.is_quiescing));
            [header(&LEVEL_COLUMNS)].into_iter().chain(rows).collect()
        }
        "dump_queues" => [header(&QUEUE_COLUMNS)].into_iter().chain(levels.flat_map(of_queues)).collect(),
        "dump_requests" => {
            let details: &[&str] = if with_details { &DETAIL_COLUMNS } else { &[] };
            let rows = levels.flat_map(|level| of_requests(level, with_details, now));
            [header(&[&REQUEST_COLUMNS, details].concat())].into_iter().chain(rows).collect()
        }
        _ => return None,
    };
    Some(aligned(&rows))
}

fn header(columns: &[&str]) -> Row {
    columns.iter().map(|column| (*column).to_owned()).collect()
}

fn row(cells: &[&dyn Display]) -> Row {
    cells.iter().map(ToString::to_string).collect()
}

fn of_level(level: &Level, is_quiescing: bool) -> Row {
    let (Digest { queues, requests }, _, counts) = level.digest();
    let waiting = requests.iter().filter(|request| request.started.is_none()).count();
    let active = queues.iter().filter(|queue| queue.waiting > 0).count();
    let Counts { dispatched, rejected, timed_out, cancelled } = counts;
    row(&[
        &level.name,
        &active,
        &requests.is_empty(),
        &is_quiescing,
        &waiting,
        &(requests.len() - waiting),
        &dispatched,
        &rejected,
        &timed_out,
        &cancelled,
    ])
}

fn of_queues(level: &Level) -> Vec<Row> {
    let (digest, ..) = level.digest();
    let queues = digest.queues.iter().enumerate();
    let of = |(index, queue): (usize, &super::queues::QueueDigest)| {
        row(&[
            &level.name,
            &index,
            &queue.waiting,
            &queue.executing,
            &queue.seats_in_use,
            &seat_seconds(queue.start),
            &queue.seats_waiting,
            &queue.seats_waiting,
            &seat_seconds(queue.work_waiting),
        ])
    };
    queues.map(of).collect()
}

fn of_requests(level: &Level, with_details: bool, now: &Now) -> Vec<Row> {
    let (digest, known, _) = level.digest();
    let rows = digest.requests.iter().filter_map(|request| of_request(level, request, &known, with_details, now));
    rows.collect()
}

fn of_request(
    level: &Level,
    request: &RequestDigest,
    known: &HashMap<Ticket, Known>,
    with_details: bool,
    now: &Now,
) -> Option<Row> {
    let Known { series, origin, came } = known.get(&request.ticket)?;
    let number = |index: Option<usize>| index.map_or_else(|| "-1".to_owned(), |index| index.to_string());
    let mut cells = row(&[
        &level.name,
        &series.schema,
        &number(request.queue),
        &number(request.position),
        &origin.distinguisher,
        &now.text(*came),
        &request.seats,
        &0,
        &"0s",
        &request.started.map_or_else(|| NEVER.to_owned(), |started| now.text(started)),
    ]);
    if with_details {
        let info = &origin.info;
        let version = machinery::gvk::api_version(&info.group, &info.version);
        cells.extend(row(&[
            &origin.user,
            &info.verb,
            &info.path,
            &info.namespace,
            &info.name,
            &version,
            &info.resource,
            &info.subresource,
        ]));
    }
    Some(cells)
}

fn seat_seconds(amount: f64) -> String {
    format!("{amount:.8}ss")
}

/// Cells end with commas, but for a line's last, and stand below one another.
fn aligned(rows: &[Row]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count() + 2).max().unwrap_or_default().max(WIDTH_MIN)
        })
        .collect();
    let line = |row: &Row| {
        let (last, cells) = row.split_last()?;
        let cells = cells.iter().zip(&widths);
        let cells: String = cells.map(|(cell, width)| format!("{:width$}", format!("{cell},"))).collect();
        Some(format!("{cells}{last}\n"))
    };
    rows.iter().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::super::level::{Demanded, Origin};
    use super::super::queues::Discipline;
    use super::super::series::FlowSeries;
    use super::*;
    use crate::request::RequestInfo;

    fn demanded(user: &str) -> Demanded {
        let info =
            RequestInfo { verb: "get".into(), version: "v1".into(), resource: "pods".into(), ..Default::default() };
        let origin = Origin { distinguisher: user.into(), user: user.into(), info };
        let series = Arc::new(FlowSeries::of("level", "schema"));
        Demanded { series, origin, ..Demanded::of_nobody("level") }
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_and_who_runs_is_told() {
        let level = Arc::new(Level::new("level", Discipline::Queue { queues: 1, hand: 1, length_max: 1 }, 1));
        let runs = level.take_seat(demanded("one")).await.ok().unwrap();
        let mut waits = Box::pin(level.take_seat(demanded("two")));
        assert!(futures::poll!(&mut waits).is_pending());
        assert_eq!(level.take_seat(demanded("three")).await.err(), Some("queue-full"));
        assert_eq!(of_level(&level, false), ["level", "1", "false", "false", "1", "1", "1", "1", "0", "0"]);
        let queue = ["level", "0", "1", "1", "1", "0.00300000ss", "1", "1", "0.00300000ss"];
        assert_eq!(of_queues(&level), [queue]);
        let now =
            Now { instant: Instant::now() + Duration::from_secs(1), time: "2026-01-02T03:04:05Z".parse().unwrap() };
        let came = "2026-01-02T03:04:04Z";
        let rows = of_requests(&level, true, &now);
        let details = |user| [user, "get", "", "", "", "v1", "pods", ""];
        assert_eq!(rows[0][..10], ["level", "schema", "0", "0", "two", came, "1", "0", "0s", NEVER]);
        assert_eq!(rows[0][10..], details("two"));
        assert_eq!(rows[1][..10], ["level", "schema", "0", "-1", "one", came, "1", "0", "0s", came]);
        drop(waits);
        drop(runs);
        assert_eq!(of_level(&level, false), ["level", "0", "true", "false", "0", "0", "1", "1", "0", "1"]);
    }

    #[test]
    fn columns_are_aligned_as_scripts_expect_them() {
        let rows = [header(&["Name", "LongerThanEight", "Last"]), header(&["a", "b", "c"])];
        assert_eq!(aligned(&rows), "Name,   LongerThanEight, Last\na,      b,               c\n");
    }
}
