//! `exeat-fuzz [TARGET…] --runs N | --seconds S [--seed X]`: what was run stands on standard output, failing inputs in a folder.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use exeat_fuzz::{ALL, Limits, Report, corpus, engine, named};

/// Fuzzes the parts of Exeat that read what others wrote.
#[derive(Parser)]
#[command(name = "exeat-fuzz")]
struct Cli {
    /// What to fuzz; everything where none is named.
    targets: Vec<String>,
    /// Inputs for each target.
    #[arg(long, value_name = "N")]
    runs: Option<u64>,
    /// Seconds for each target.
    #[arg(long, value_name = "S")]
    seconds: Option<u64>,
    /// What all inputs follow from.
    #[arg(long, value_name = "X", default_value_t = 1)]
    seed: u64,
    /// Where failing inputs are written.
    #[arg(long, value_name = "FOLDER", default_value = "fuzz-failures")]
    failures: PathBuf,
    /// Judges this one file again, for one target.
    #[arg(long, value_name = "FILE")]
    repeat: Option<PathBuf>,
    /// Lists the classes, each with the number of inputs that came to it.
    #[arg(long)]
    classes: bool,
    /// Writes the inputs that reached something new into the corpus.
    #[arg(long)]
    keep: bool,
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

/// Whether nothing failed.
fn run(cli: &Cli) -> Result<bool, String> {
    let every = || ALL.iter().map(|(name, _)| (*name).to_owned()).collect();
    let targets: Vec<String> = if cli.targets.is_empty() { every() } else { cli.targets.clone() };
    if let Some(file) = &cli.repeat {
        let [target] = targets.as_slice() else { return Err("--repeat needs one target".to_owned()) };
        let input = std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
        let judged = engine::guarded(named(target)?.as_mut(), &input);
        println!("{target}: {judged:?}");
        return Ok(judged.is_ok());
    }
    if cli.runs.is_none() && cli.seconds.is_none() {
        return Err("say how long: --runs N or --seconds S".to_owned());
    }
    let mut good = true;
    let mut executions = 0;
    for name in &targets {
        let report = fuzz(cli, name)?;
        executions += report.executions;
        good &= report.failure.is_none();
    }
    println!("total: {executions} executions, seed {}", cli.seed);
    Ok(good)
}

fn fuzz(cli: &Cli, name: &str) -> Result<Report, String> {
    let mut target = named(name)?;
    let folder = corpus::folder(name);
    let given = corpus::read(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let (count, began) = (given.len(), Instant::now());
    let limits = Limits { runs: cli.runs, time: cli.seconds.map(Duration::from_secs) };
    let report = engine::run(target.as_mut(), given, limits, cli.seed);
    println!(
        "{name}: {} executions in {:.1} s, corpus {count} + {}, {} classes, slowest {:.1} ms",
        report.executions,
        began.elapsed().as_secs_f64(),
        report.corpus.len() - count,
        report.classes.len(),
        report.slowest.as_secs_f64() * 1e3,
    );
    if cli.classes {
        for (class, count) in &report.classes {
            println!("{name}: {count:>9} {class}");
        }
    }
    if cli.keep {
        for input in &report.corpus[count..] {
            corpus::write(&folder, input).map_err(|error| error.to_string())?;
        }
    }
    if let Some(failure) = &report.failure {
        let file = corpus::write(&cli.failures.join(name), &failure.input).map_err(|error| error.to_string())?;
        println!("{name}: FAILED: {}", failure.message);
        println!("{name}: repeat: exeat-fuzz {name} --repeat {} (found with --seed {})", file.display(), cli.seed);
    }
    Ok(report)
}
