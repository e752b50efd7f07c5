//! The file that events are written to: a line each, a new file when it is full, old ones kept so long and so many.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use component::clock::Clock;
use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp;

const MEBIBYTE: u64 = 1024 * 1024;
const STAMP: &str = "%Y-%m-%dT%H-%M-%S%.3f";
/// What the name of a compressed file ends with.
const COMPRESSED: &str = ".gz";

/// When a file is put away, how, and for how long; 0 is without limit.
#[derive(Clone, Copy, Debug)]
pub struct Keep {
    pub age_days_max: u64,
    pub backups_max: usize,
    pub size_mb_max: u64,
    pub is_compressed: bool,
}

pub enum Log {
    Stdout,
    File { path: PathBuf, file: File, bytes: u64, keep: Keep, clock: Clock },
}

impl Log {
    /// `-` is the standard output.
    pub fn open(path: &str, keep: Keep, clock: Clock) -> io::Result<Self> {
        if path == "-" {
            return Ok(Self::Stdout);
        }
        let path = PathBuf::from(path);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let (file, bytes) = append_to(&path)?;
        Ok(Self::File { path, file, bytes, keep, clock })
    }

    pub fn write_line(&mut self, line: &[u8]) -> io::Result<()> {
        match self {
            Self::Stdout => {
                let mut out = io::stdout().lock();
                out.write_all(line)?;
                out.flush()
            }
            Self::File { path, file, bytes, keep, clock } => {
                let size_max = keep.size_mb_max.saturating_mul(MEBIBYTE);
                if size_max > 0 && *bytes > 0 && *bytes + line.len() as u64 > size_max {
                    let old = put_away(path, clock.now());
                    std::fs::rename(&*path, &old)?;
                    (*file, *bytes) = append_to(path)?;
                    if keep.is_compressed {
                        // It takes seconds, for which no request should wait.
                        std::thread::spawn(move || compress_in_place(&old));
                    }
                    remove_old(path, keep, clock.now());
                }
                file.write_all(line)?;
                *bytes += line.len() as u64;
                Ok(())
            }
        }
    }
}

fn append_to(path: &Path) -> io::Result<(File, u64)> {
    let file = options().append(true).open(path)?;
    let bytes = file.metadata()?.len();
    Ok((file, bytes))
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.create(true);
    // Events hold what nobody but the administrator may read.
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// A file that cannot be compressed stays as it is.
fn compress_in_place(path: &Path) {
    let name = [path.as_os_str(), COMPRESSED.as_ref()].join(std::ffi::OsStr::new(""));
    let compress = || {
        let mut encoder = GzEncoder::new(options().write(true).truncate(true).open(&name)?, Compression::default());
        io::copy(&mut File::open(path)?, &mut encoder)?;
        encoder.finish()?.sync_all()?;
        std::fs::remove_file(path)
    };
    if let Err(error) = compress() {
        tracing::warn!(file = %path.display(), %error, "compressing an old audit log");
    }
}

/// With its dot.
fn extension(path: &Path) -> String {
    path.extension().map(|extension| format!(".{}", extension.to_string_lossy())).unwrap_or_default()
}

fn parts(path: &Path) -> (String, String) {
    (path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default(), extension(path))
}

fn put_away(path: &Path, now: Timestamp) -> PathBuf {
    let (stem, extension) = parts(path);
    path.with_file_name(format!("{stem}-{}{extension}", now.strftime(STAMP)))
}

/// A file that cannot be removed is told of, and tried again at the next turn.
fn remove_old(path: &Path, keep: &Keep, now: Timestamp) {
    let Some(folder) = path.parent() else { return };
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    let names: Vec<String> = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    for name in too_old(path, &names, keep, now) {
        if let Err(error) = std::fs::remove_file(folder.join(&name)) {
            tracing::warn!(file = name, %error, "removing an old audit log");
        }
    }
}

/// Which of a folder's files are old logs that are no longer kept.
fn too_old(path: &Path, names: &[String], keep: &Keep, now: Timestamp) -> Vec<String> {
    let (stem, extension) = parts(path);
    let stamp = |name: &String| {
        let plain = name.strip_suffix(COMPRESSED).unwrap_or(name);
        let text = plain.strip_prefix(&stem)?.strip_prefix('-')?.strip_suffix(&extension)?;
        let at = jiff::civil::DateTime::strptime(STAMP, text).ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
        Some((at.timestamp(), name.clone()))
    };
    let mut old: Vec<(Timestamp, String)> = names.iter().filter_map(stamp).collect();
    old.sort();
    old.reverse();
    let age_seconds_max = i64::try_from(keep.age_days_max * 24 * 3600).unwrap_or(i64::MAX);
    let is_aged = |at: &Timestamp| keep.age_days_max > 0 && now.as_second() - at.as_second() > age_seconds_max;
    let gone = old
        .into_iter()
        .enumerate()
        .filter(|(position, (at, _))| (keep.backups_max > 0 && *position >= keep.backups_max) || is_aged(at));
    gone.map(|(_, (_, name))| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    #[test]
    fn old_files_go_by_number_and_age() {
        let path = Path::new("/logs/audit.log");
        let stamped = |text: &str| put_away(path, at(text)).file_name().unwrap().to_string_lossy().into_owned();
        let times = ["2026-01-01T00:00:00Z", "2026-01-05T00:00:00Z", "2026-01-09T00:00:00.25Z"];
        let mut names: Vec<String> = times.iter().map(|time| stamped(time)).collect();
        assert_eq!(names[2], "audit-2026-01-09T00-00-00.250.log");
        names[1] += COMPRESSED;
        let all = [names.clone(), vec!["audit.log".into(), "audit-x.log".into(), "other.log".into()]].concat();
        let gone = |age_days_max, backups_max| {
            too_old(
                path,
                &all,
                &Keep { age_days_max, backups_max, size_mb_max: 0, is_compressed: false },
                at("2026-01-10T00:00:00Z"),
            )
        };
        assert_eq!(gone(0, 0), [""; 0]);
        assert_eq!(gone(0, 1), [names[1].clone(), names[0].clone()]);
        assert_eq!(gone(7, 0), [names[0].clone()]);
    }

    #[test]
    fn a_full_file_is_put_away() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/audit.log");
        let keep = Keep { age_days_max: 0, backups_max: 5, size_mb_max: 1, is_compressed: false };
        let mut log = Log::open(&path.display().to_string(), keep, Clock::system()).unwrap();
        let line = [vec![b'x'; 700 * 1024], b"\n".to_vec()].concat();
        log.write_line(&line).unwrap();
        log.write_line(&line).unwrap();
        let mut sizes: Vec<u64> = std::fs::read_dir(path.parent().unwrap())
            .unwrap()
            .map(|entry| entry.unwrap().metadata().unwrap().len())
            .collect();
        sizes.sort_unstable();
        assert_eq!(sizes, [line.len() as u64; 2]);
    }
    #[test]
    fn a_compressed_file_takes_the_place_of_the_plain_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit-then.log");
        std::fs::write(&path, "line\n".repeat(1000)).unwrap();
        compress_in_place(&path);
        assert!(!path.exists());
        let compressed = File::open(folder.path().join("audit-then.log.gz")).unwrap();
        let text = io::read_to_string(flate2::read::GzDecoder::new(compressed)).unwrap();
        assert_eq!(text, "line\n".repeat(1000));
    }
}
