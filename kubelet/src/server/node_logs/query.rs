//! What a query of the node's logs asks for, and what is wrong with it (`NodeLogQuery`). Pure but for a look at the file.

use std::path::Path;

use jiff::{Timestamp, tz::TimeZone};
use machinery::field::{Error, ErrorList, Path as Field};

use super::super::query::Query;

const LINES_MAX: i64 = 100_000;
const NAME_BYTES_MAX: usize = 256;
const SERVICES_MAX: usize = 4;

/// Services, or one file, and what of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct LogQuery {
    pub(super) services: Vec<String>,
    pub(super) files: Vec<String>,
    pub(super) options: Options,
}

/// What only the journal can answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Options {
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    tail_lines: Option<i64>,
    /// Counted back from the present one, which is 0.
    boot: Option<i64>,
    pattern: String,
}

impl LogQuery {
    /// None where nothing is queried: then the path names a file.
    pub(super) fn parse(query: &Query) -> Result<Option<Self>, ErrorList> {
        let mut problems = ErrorList::new();
        let asked = query.all("query");
        let (files, services): (Vec<String>, Vec<String>) = asked
            .iter()
            .filter(|name| !name.trim().is_empty())
            .cloned()
            // A slash says that a file is meant; `foo.log` alone is found as well, as a service that logs to a file.
            .partition(|name| name.contains(['/', '\\']));
        if !asked.is_empty() && files.is_empty() && services.is_empty() {
            problems.push(Error::invalid(&Field::new("query"), asked, "query cannot be empty"));
        }
        let mut time = |name: &str| {
            let text = given(query, name)?;
            let time = text.contains('T').then(|| text.parse().ok()).flatten();
            if time.is_none() {
                problems.push(Error::invalid(&Field::new(name), text, "invalid time format"));
            }
            time
        };
        let (since, until) = (time("sinceTime"), time("untilTime"));
        let mut number = |name: &str| {
            let text = given(query, name)?;
            let number = text.parse().ok();
            if number.is_none() {
                let detail = format!("strconv.Atoi: parsing {text:?}: invalid syntax");
                problems.push(Error::invalid(&Field::new(name), text, detail));
            }
            number
        };
        let (boot, tail_lines) = (number("boot"), number("tailLines"));
        if !problems.is_empty() {
            return Err(problems);
        }
        let pattern = query.get("pattern").unwrap_or_default().to_owned();
        let found = Self { services, files, options: Options { since, until, tail_lines, boot, pattern } };
        Ok(Some(found).filter(|found| *found != Self::default()))
    }

    /// What is wrong with it; `folder` is that of the logs.
    pub(super) fn problems(&self, folder: &Path) -> ErrorList {
        let at = Field::new("query");
        let mut problems: ErrorList = self.services.iter().filter_map(|name| unsafe_name(&at, name)).collect();
        if self.services.len() > SERVICES_MAX {
            problems.push(Error::too_many(&at, self.services.len(), SERVICES_MAX));
        }
        let files = || self.files.clone();
        match (self.files.as_slice(), self.services.as_slice()) {
            ([], []) => problems.push(Error::required(&at, "cannot be empty with options")),
            ([_, ..], [_, ..]) => {
                let both = format!("[{}], [{}]", self.files.join(" "), self.services.join(" "));
                problems.push(Error::invalid(&at, both, "cannot specify a file and service"));
            }
            ([_, _, ..], _) => problems.push(Error::invalid(&at, files(), "cannot specify more than one file")),
            ([_], _) if self.options != Options::default() => {
                problems.push(Error::invalid(&at, files(), "cannot specify file with options"));
            }
            ([file], _) => {
                if let Err(error) = super::files::look(folder, &path_of(file)) {
                    problems.push(Error::invalid(&at, files(), format!("stat {file}: {error}")));
                }
            }
            _ => {}
        }
        problems.extend(self.options.problems());
        problems
    }
}

impl Options {
    fn problems(&self) -> ErrorList {
        let mut problems = ErrorList::new();
        if let (Some(since), Some(until)) = (self.since, self.until)
            && since > until
        {
            problems.push(Error::invalid(&Field::new("untilTime"), until.to_string(), "must be after `sinceTime`"));
        }
        if let Some(boot) = self.boot.filter(|boot| *boot > 0) {
            problems.push(Error::invalid(&Field::new("boot"), boot, "must be less than 1"));
        }
        if let Some(lines) = self.tail_lines.filter(|lines| !(0..=LINES_MAX).contains(lines)) {
            let detail = format!("must be between 0 and {LINES_MAX}, inclusive");
            problems.push(Error::invalid(&Field::new("tailLines"), lines, detail));
        }
        if let Err(error) = regex::Regex::new(&self.pattern) {
            let detail = format!("error parsing regexp: {error}");
            problems.push(Error::invalid(&Field::new("pattern"), self.pattern.clone(), detail));
        }
        problems
    }

    /// The arguments of `journalctl` for the logs of these services.
    pub(super) fn arguments(&self, services: &[String]) -> Vec<String> {
        // The program takes times without a zone for the machine's own.
        let time = |at: Timestamp| at.to_zoned(TimeZone::UTC).strftime("%Y-%m-%d %H:%M:%S UTC").to_string();
        let mut arguments: Vec<String> = ["--utc", "--no-pager", "--output=short-precise"].map(String::from).into();
        arguments.extend(self.since.map(|at| format!("--since={}", time(at))));
        arguments.extend(self.until.map(|at| format!("--until={}", time(at))));
        if let Some(lines) = self.tail_lines {
            arguments.extend(["--pager-end".to_owned(), format!("--lines={lines}")]);
        }
        arguments.extend(services.iter().map(|service| format!("--unit={service}")));
        if !self.pattern.is_empty() {
            arguments.extend([format!("--grep={}", self.pattern), "--case-sensitive=false".to_owned()]);
        }
        if let Some(boot) = self.boot {
            arguments.extend(["--boot".to_owned(), boot.to_string()]);
        }
        arguments
    }
}

/// A file as it is queried, below the folder of the logs.
pub(super) fn path_of(file: &str) -> String {
    file.replace('\\', "/").trim_start_matches('/').to_owned()
}

/// All problems as one text, in upstream's words for several.
pub(super) fn shown(problems: &ErrorList) -> String {
    let mut texts: Vec<String> = problems.iter().map(ToString::to_string).collect();
    texts.dedup();
    match texts.as_slice() {
        [one] => one.clone(),
        many => format!("[{}]", many.join(", ")),
    }
}

fn given<'a>(query: &'a Query, name: &str) -> Option<&'a str> {
    query.get(name).filter(|text| !text.is_empty())
}

/// A name becomes an argument of a program.
fn unsafe_name(at: &Field, name: &str) -> Option<Error> {
    let is_safe = |c: char| c.is_ascii_alphanumeric() || "-_.:@".contains(c);
    let detail = if name.len() > NAME_BYTES_MAX {
        format!("length must be less than {NAME_BYTES_MAX}")
    } else if !name.chars().all(is_safe) {
        "input contains unsupported characters".to_owned()
    } else {
        return None;
    };
    Some(Error::invalid(at, name, detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Option<LogQuery>, String> {
        LogQuery::parse(&Query::parse(text)).map_err(|problems| shown(&problems))
    }

    #[test]
    fn a_query_is_read() {
        let read = |text: &str| parse(text).expect(text).unwrap_or_default();
        assert_eq!(parse(""), Ok(None));
        assert_eq!(parse("unknown=1&sinceTime=&boot="), Ok(None));
        let both = read("query=kubelet&query=/a.log&query=%20");
        assert_eq!((both.services, both.files), (vec!["kubelet".to_owned()], vec!["/a.log".to_owned()]));
        let options = read("query=a&tailLines=5&boot=-1&pattern=x").options;
        assert_eq!((options.tail_lines, options.boot, options.pattern.as_str()), (Some(5), Some(-1), "x"));
        for (text, wanted) in [
            ("query=", "query: Invalid value: [\"\"]: query cannot be empty"),
            (
                "query=a&sinceTime=2019-12-04+02:00:00",
                "sinceTime: Invalid value: \"2019-12-04 02:00:00\": invalid time format",
            ),
            ("query=a&untilTime=now", "untilTime: Invalid value: \"now\": invalid time format"),
            ("query=a&boot=foo", "boot: Invalid value: \"foo\": strconv.Atoi: parsing \"foo\": invalid syntax"),
            ("tailLines=+", "tailLines: Invalid value: \" \": strconv.Atoi: parsing \" \": invalid syntax"),
        ] {
            assert_eq!(parse(text).expect_err(text), wanted);
        }
    }

    #[test]
    fn what_cannot_be_asked_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("a.log"), "").expect("a file");
        let long = format!("query={}", "x".repeat(257));
        for (text, wanted) in [
            ("query=kubelet", ""),
            ("query=a&query=b@1.service&tailLines=100000&boot=0&pattern=a.*b", ""),
            ("query=/a.log", ""),
            ("query=/none.log", "query: Invalid value: [\"/none.log\"]: stat /none.log"),
            ("query=/../a.log", "query: Invalid value: [\"/../a.log\"]: stat"),
            ("tailLines=5", "query: Required value: cannot be empty with options"),
            ("query=a&query=/a.log", "query: Invalid value: \"[/a.log], [a]\": cannot specify a file and service"),
            ("query=/a.log&query=/b", "query: Invalid value: [\"/a.log\",\"/b\"]: cannot specify more than one file"),
            ("query=/a.log&boot=0", "query: Invalid value: [\"/a.log\"]: cannot specify file with options"),
            ("query=a%0A", "query: Invalid value: \"a\\n\": input contains unsupported characters"),
            (&long, "length must be less than 256"),
            ("query=a&query=b&query=c&query=d&query=e", "query: Too many: 5: must have at most 4 items"),
            ("query=a&boot=1", "boot: Invalid value: 1: must be less than 1"),
            ("query=a&tailLines=100001", "tailLines: Invalid value: 100001: must be between 0 and 100000, inclusive"),
            ("query=a&pattern=%5C", "pattern: Invalid value: \"\\\\\": error parsing regexp"),
            (
                "query=a&sinceTime=2023-02-04T02:00:00Z&untilTime=2023-01-04T02:00:00Z",
                "untilTime: Invalid value: \"2023-01-04T02:00:00Z\": must be after `sinceTime`",
            ),
        ] {
            let problems = parse(text).expect(text).unwrap_or_default().problems(folder.path());
            let told = if problems.is_empty() { String::new() } else { shown(&problems) };
            assert!(told.contains(wanted) && (!wanted.is_empty() || told.is_empty()), "{text}: {told}");
        }
    }

    #[test]
    fn the_journal_is_asked_in_its_own_words() {
        let query = parse(
            "query=a&sinceTime=2023-01-04T04:00:00%2B02:00&untilTime=2023-02-04T02:00:00Z&tailLines=7&boot=-1&pattern=x.y",
        );
        let query = query.expect("a query").expect("a query");
        assert_eq!(
            query.options.arguments(&query.services).join("|"),
            "--utc|--no-pager|--output=short-precise|--since=2023-01-04 02:00:00 UTC|--until=2023-02-04 02:00:00 UTC|\
             --pager-end|--lines=7|--unit=a|--grep=x.y|--case-sensitive=false|--boot|-1"
        );
    }
}
