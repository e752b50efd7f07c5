//! `/logs/`: the node's own logs, for whoever may read `nodes/log`.
//!
//! A path shows the files below the node's /var/log ([`files`]). With `enableSystemLogQuery`, `?query=` asks for the logs
//! of services, wherever they are kept ([`services`]), or for one file; [`query`] reads it.

mod files;
mod query;
mod services;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use http::{Response, StatusCode};

use self::query::LogQuery;
use super::{
    body::{Body, text},
    query::Query,
};

/// Where the node's logs are.
#[derive(Debug, Clone)]
pub struct NodeLogs {
    /// `/var/log`
    pub folder: PathBuf,
    /// The program that reads the journal; None where queries are not answered.
    pub journal: Option<PathBuf>,
}

/// `path` is what follows `/logs/`.
pub(super) async fn answer(logs: &NodeLogs, path: &str, query: &Query) -> Response<Body> {
    let folder = logs.folder.clone();
    let Some(journal) = &logs.journal else { return files::answer(folder, path).await };
    match LogQuery::parse(query) {
        Err(problems) => text(StatusCode::BAD_REQUEST, query::shown(&problems) + "\n"),
        Ok(None) => files::answer(folder, path).await,
        Ok(Some(asked)) => {
            let problems = asked.problems(&folder);
            match asked.files.first() {
                _ if !problems.is_empty() => text(StatusCode::NOT_ACCEPTABLE, query::shown(&problems) + "\n"),
                Some(file) => files::answer(folder, &query::path_of(file)).await,
                None => services::answer(folder, journal.clone(), asked),
            }
        }
    }
}
