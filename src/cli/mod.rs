//! The command line: parse, dispatch, exit code.
//!
//! Invariants: a command line that is wrong ends with 64; nothing here panics when the reader of the
//! output goes away; results go to stdout, everything else to stderr.
//! Not here: the commands' work (`init`, `check_config`, `completions`, `man` beside this file are the ones that
//! need nothing but configuration).
//! Failure: [`CliError`], printed once, here.

mod args;
mod check_config;
mod completions;
mod exit;
mod init;
mod man;
mod version;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use crate::commands;
use bursar_config::ProcessEnv;
use clap::{CommandFactory, Parser};

pub use args::{Cli, Command, ConfigArgs, GlobalArgs};
pub use exit::{CliError, Exit};

/// Runs one command line, program name first, and says how the process should end.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    match dispatch(cli) {
        Ok(exit) => exit.into(),
        Err(error) => {
            report(&error);
            error.exit.into()
        }
    }
}

fn dispatch(cli: Cli) -> Result<Exit, CliError> {
    let Cli {
        global,
        version,
        command,
    } = cli;
    // Not locked: a command with threads of its own may print from them, too.
    let mut out = std::io::stdout();
    if version {
        return version::run(&global, &mut out);
    }
    let Some(command) = command else {
        let help = Cli::command().render_help();
        return Err(CliError::new(
            Exit::Usage,
            format!("no command given\n\n{help}"),
        ));
    };
    match command {
        Command::Init(args) => init::run(&args, &global, &mut out),
        Command::CheckConfig(args) => check_config::run(&args, &global, &ProcessEnv, &mut out),
        Command::Completions(args) => completions::run(&args, &mut out),
        Command::Man(args) => man::run(&args, &mut out),
        Command::Serve(args) => commands::serve::run(&args, &global),
        Command::Doctor(args) => commands::doctor::run(&args, &global, &mut out),
        Command::Demo(args) => commands::demo::run(&args, &global),
        Command::Sandbox(args) => commands::sandbox::run(&args, &global),
        Command::Explain(args) => commands::explain::run(&args, &global, &mut out),
        Command::Replay(args) => commands::replay::run(&args, &global, &mut out),
        Command::Reconcile(args) => commands::reconcile::run(&args, &global, &mut out),
        Command::Export(args) => commands::export::run(&args, &global, &mut out),
        Command::Backup(args) => commands::backup::run_backup(&args, &global, &mut out),
        Command::Restore(args) => commands::backup::run_restore(&args, &global, &mut out),
        Command::Recover(args) => commands::recover::run(&args, &global, &mut out),
        Command::Verify(args) => commands::verify::run(&args, &global, &mut out),
        Command::Admin(args) => commands::admin::run(&args, &global, &mut out),
        Command::Trigger(args) => commands::trigger::run(&args, &global, &mut out),
        Command::Events(args) => commands::tail::run(&args, &global, &mut out),
        Command::Openapi => openapi(&mut out),
        Command::Bench(args) => commands::measured(args),
    }
}

fn openapi(out: &mut impl Write) -> Result<Exit, CliError> {
    writeln!(
        out,
        "{:#}",
        crate::http::openapi::document(env!("CARGO_PKG_VERSION"))
    )?;
    Ok(Exit::Success)
}

/// Prints help where it was asked for, and what is wrong with a command line otherwise.
fn usage(error: &clap::Error) -> ExitCode {
    // The reader may be gone, as after `| head`: nothing is left to say then.
    let _ = error.print();
    if error.use_stderr() {
        Exit::Usage.into()
    } else {
        Exit::Success.into()
    }
}

fn report(error: &CliError) {
    if error.message.is_empty() {
        return;
    }
    let mut err = std::io::stderr().lock();
    // Without a reader of stderr there is nobody left to tell.
    let _ = writeln!(err, "bursar: {}", error.message);
    if let Some(next) = &error.next {
        let _ = writeln!(err, "  try: {next}");
    }
}
