//! fio on the same files, at the same size and depth: a job a thread with `psync`, each over a part of its own.

use std::io;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde::Deserialize;

use super::files::LARGE;
use super::reads::{Cell, Layout};
use super::sides::Pass;
use crate::bench::stop::Stop;
use crate::error::{Fault, Kind};

/// fio refuses an option of more characters.
const OPTION_CHARS_MAX: usize = 4000;

/// What to do where it is missing.
pub const INSTALL: &str = "apt install fio, or dnf install fio, and run it again";

/// What fio says of one run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FioRun {
    /// Reads a second.
    pub per_second: f64,
    /// 10^9 bytes a second.
    pub gb_per_s: f64,
    /// Of the read alone, without open and close; microseconds.
    pub p50_us: f64,
    /// As above.
    pub p99_us: f64,
}

/// Its version, where it is installed.
pub fn version() -> Option<String> {
    let output = Command::new("fio").arg("--version").stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

/// Runs it for one cell.
///
/// # Errors
/// Unavailable: it can't be run, or says that it failed.
pub fn run(pass: &Pass) -> Result<FioRun, Fault> {
    let mut command = Command::new("fio");
    command.current_dir(pass.files.directory()).args(arguments(pass));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let failed = |error: io::Error| Fault::from_error(Kind::Unavailable, &error).context("run fio");
    let output = wait(command.spawn().map_err(failed)?, pass.stop).map_err(failed)?;
    pass.stop.check()?;
    parse(&output).map_err(|why| Fault::new(Kind::Unavailable, format!("fio: {why}")))
}

/// The end of its life, with what it printed; killed where the work is to stop.
fn wait(mut child: Child, stop: &Stop) -> io::Result<std::process::Output> {
    // Its output is read on threads of its own, lest it fill a pipe that nobody empties.
    let drain = |pipe: Option<Box<dyn io::Read + Send>>| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            pipe.map_or(Ok(0), |mut pipe| pipe.read_to_end(&mut bytes)).map(|_| bytes)
        })
    };
    let out = drain(child.stdout.take().map(|pipe| Box::new(pipe) as _));
    let err = drain(child.stderr.take().map(|pipe| Box::new(pipe) as _));
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if stop.is_set() {
            child.kill()?;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let join = |thread: std::thread::JoinHandle<io::Result<Vec<u8>>>| {
        thread.join().expect("reading a pipe does not panic")
    };
    Ok(std::process::Output { status, stdout: join(out)?, stderr: join(err)? })
}

fn arguments(pass: &Pass) -> Vec<String> {
    let Cell { layout, size_bytes, depth } = pass.cell;
    let mut arguments: Vec<String> = [
        "--output-format=json",
        "--rw=randread",
        "--ioengine=psync",
        "--thread",
        "--group_reporting",
        "--invalidate=1",
        "--allow_file_create=0",
        "--randrepeat=0",
    ]
    .map(str::to_owned)
    .into();
    arguments.push(format!("--bs={size_bytes}"));
    arguments.push(format!("--direct={}", u8::from(pass.direct)));
    arguments.push(format!("--runtime={}ms", pass.target.as_millis().max(50)));
    let reads = pass.cell.reads(pass.files);
    for job in 0..u64::from(depth).min(reads) {
        arguments.push(format!("--name=job{job}"));
        match layout {
            Layout::SmallFiles => {
                // Each read opens its file and has the cache drop it, so a second time is as cold as the first.
                let own = (job..reads).step_by(depth as usize).map(|index| pass.cell.target(index).name);
                arguments.push(format!("--filename={}", joined(own)));
                arguments.extend(["--openfiles=1", "--file_service_type=random"].map(str::to_owned));
                arguments.extend([format!("--filesize={size_bytes}"), "--time_based".to_owned()]);
            }
            Layout::LargeFile => {
                let part = reads / u64::from(depth).min(reads) * size_bytes;
                arguments.push(format!("--filename={LARGE}"));
                arguments.extend([format!("--offset={}", job * part), format!("--size={part}")]);
            }
        }
    }
    arguments
}

/// As many of the names as fit into one option.
fn joined(names: impl Iterator<Item = String>) -> String {
    names.fold(String::new(), |all, name| match all.len() {
        0 => name,
        len if len + name.len() < OPTION_CHARS_MAX => all + ":" + &name,
        _ => all,
    })
}

#[derive(Deserialize)]
struct Output {
    jobs: Vec<Job>,
}

#[derive(Deserialize)]
struct Job {
    #[serde(default)]
    error: i64,
    read: Side,
}

#[derive(Deserialize)]
struct Side {
    iops: f64,
    bw_bytes: f64,
    clat_ns: Latency,
}

#[derive(Deserialize)]
struct Latency {
    #[serde(default)]
    percentile: std::collections::HashMap<String, f64>,
}

fn parse(output: &std::process::Output) -> Result<FioRun, String> {
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let said =
        || errors.lines().chain(text.lines()).find(|line| !line.trim().is_empty()).unwrap_or("nothing");
    // Warnings come before the JSON.
    let json = text.find('{').map(|at| &text[at..]).ok_or_else(|| format!("it printed {:?}", said()))?;
    let report: Output = serde_json::from_str(json).map_err(|error| format!("its report: {error}"))?;
    let job = report.jobs.first().ok_or("its report has no job")?;
    if job.error != 0 || !output.status.success() {
        return Err(said().to_owned());
    }
    let us = |percent: &str| job.read.clat_ns.percentile.get(percent).map_or(0.0, |ns| ns / 1000.0);
    Ok(FioRun {
        per_second: job.read.iops,
        gb_per_s: job.read.bw_bytes / 1e9,
        p50_us: us("50.000000"),
        p99_us: us("99.000000"),
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::{ExitStatus, Output};

    use super::super::files::{Plan, TestFiles};
    use super::*;
    use crate::bench::progress::Progress;

    fn output(code: i32, stdout: &str, stderr: &str) -> Output {
        let (stdout, stderr) = (stdout.into(), stderr.into());
        Output { status: ExitStatus::from_raw(code << 8), stdout, stderr }
    }

    const REPORT: &str = r#"{"fio version": "fio-3.33", "jobs": [{"jobname": "job0", "error": 0, "read": {
        "iops": 2500.5, "bw_bytes": 128000000, "clat_ns": {"percentile": {"50.000000": 78336, "99.000000": 342016}}}}]}"#;

    #[test]
    fn its_report_is_read_whatever_stands_before_it() {
        let run = FioRun { per_second: 2500.5, gb_per_s: 0.128, p50_us: 78.336, p99_us: 342.016 };
        assert_eq!(parse(&output(0, &format!("note: old kernel\n{REPORT}"), "")), Ok(run));
    }

    #[test]
    fn its_failure_is_told_in_its_words() {
        let told = parse(&output(1, REPORT, "fio: pid=0, err=22, Invalid argument\n"));
        assert_eq!(told, Err("fio: pid=0, err=22, Invalid argument".to_owned()));
        assert!(parse(&output(1, "", "no space")).expect_err("no report").contains("no space"));
        assert!(parse(&output(0, "{}", "")).is_err());
    }

    #[test]
    fn the_jobs_share_the_reads_and_none_comes_twice() {
        let root = tempfile::tempdir().expect("a folder");
        let plan = Plan { small: vec![(512, 5)], large_bytes: 5 * 512 };
        let (progress, stop) = (Progress::start(), Stop::default());
        let files = TestFiles::make(root.path().join("t"), plan, &progress, &stop).expect("space");
        let of = |layout, depth, direct| {
            let cell = Cell { layout, size_bytes: 512, depth };
            let target = Duration::from_millis(200);
            arguments(&Pass { cell, files: &files, target, direct, progress: &progress, stop: &stop })
        };
        let small = of(Layout::SmallFiles, 2, true);
        assert!(small.contains(&"--filename=s512/0:s512/2:s512/4".to_owned()), "{small:?}");
        assert!(small.contains(&"--filename=s512/1:s512/3".to_owned()), "{small:?}");
        assert!(
            ["--direct=1", "--bs=512", "--runtime=200ms"]
                .iter()
                .all(|&word| small.contains(&word.to_owned()))
        );
        let large = of(Layout::LargeFile, 2, false);
        assert!(large.contains(&"--offset=1024".to_owned()) && large.contains(&"--size=1024".to_owned()));
        assert!(large.contains(&"--direct=0".to_owned()));
        let jobs = |arguments: &[String]| arguments.iter().filter(|word| word.starts_with("--name=")).count();
        assert_eq!(jobs(&of(Layout::SmallFiles, 64, false)), 5, "no job without a file");
    }

    #[test]
    fn an_option_is_never_longer_than_fio_takes() {
        let many = joined((0..10_000).map(|number| format!("s4096/{number}")));
        assert!(
            (OPTION_CHARS_MAX - 12..=OPTION_CHARS_MAX).contains(&many.len())
                && many.starts_with("s4096/0:s4096/1:")
        );
    }
}
