//! How a command reaches a Bursar: the process that holds the store, else a store it opens itself.

use super::serve::{explain_start, store_failed};
use crate::app::App;
use crate::cli::{CliError, ConfigArgs, Exit, GlobalArgs};
use crate::control::{Answer, Control};
use crate::telemetry::log;
use bursar_actors::clock::SystemClock;
use bursar_config::{Config, ProcessEnv, ToolConfig, load, load_for_tool};
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Time to close a store a command opened.
const CLOSE_WAIT: Duration = Duration::from_secs(30);

/// A Bursar to ask.
pub struct Reached {
    control: Control,
    /// The app, when this process opened the store.
    own: Option<App>,
}

/// Reaches the Bursar of this configuration.
///
/// # Errors
/// Nobody holds the store and it cannot be opened here.
pub async fn reach(args: &ConfigArgs, global: &GlobalArgs) -> Result<Reached, CliError> {
    let tool = load_for_tool(&args.load_args(global), &ProcessEnv)?.config;
    let folder = tool.store.data_dir();
    if let Some(control) = Control::over_socket(folder).await.map_err(unreachable)? {
        return Ok(Reached { control, own: None });
    }
    if !folder.join("journal").exists() {
        return Err(no_store(folder));
    }
    open(&offline(&tool)?, global).await
}

/// Reaches the Bursar of this configuration for a command that asks Stripe: a store opened here needs
/// the whole configuration, with the real key. `creates`: a store that is not there is made.
///
/// # Errors
/// As [`reach`], and a configuration that `serve` would refuse.
pub async fn reach_with_stripe(
    args: &ConfigArgs,
    global: &GlobalArgs,
    creates: bool,
) -> Result<Reached, CliError> {
    let load_args = args.load_args(global);
    let tool = load_for_tool(&load_args, &ProcessEnv)?.config;
    let folder = tool.store.data_dir();
    if let Some(control) = Control::over_socket(folder).await.map_err(unreachable)? {
        return Ok(Reached { control, own: None });
    }
    if !creates && !folder.join("journal").exists() {
        return Err(no_store(folder));
    }
    let mut config = load(&load_args, &ProcessEnv)?.config;
    // One run was asked for.
    config.reconcile_interval = None;
    open(&config, global).await
}

fn no_store(folder: &Path) -> CliError {
    let text = format!("there is no store in {}", folder.display());
    CliError::new(Exit::Unavailable, text).or_try("give its folder with --data-dir")
}

async fn open(config: &Config, global: &GlobalArgs) -> Result<Reached, CliError> {
    // A second store in the same process: it has been set up.
    drop(log::install(&log::of_a_command(global.verbose)));
    let app = App::start(config, Arc::new(SystemClock::new()))
        .await
        .map_err(explain_start)?;
    let control = Control::over(app.connect()).await.map_err(unreachable)?;
    Ok(Reached {
        control,
        own: Some(app),
    })
}

/// A configuration to open a store with and listen on nothing: what a tool knows, secrets made up.
fn offline(tool: &ToolConfig) -> Result<Config, CliError> {
    Ok(Config::for_tool(tool)?)
}

fn unreachable(error: std::io::Error) -> CliError {
    CliError::new(
        Exit::Unavailable,
        format!("the running bursar does not answer: {error}"),
    )
}

impl Reached {
    /// GET; the body of a 2xx answer.
    ///
    /// # Errors
    /// No answer, or a problem: its code and words.
    pub async fn get(&mut self, path: &str) -> Result<Value, CliError> {
        let answer = self.control.get(path).await.map_err(unreachable)?;
        body(answer)
    }

    /// POST; the body of a 2xx answer.
    ///
    /// # Errors
    /// As [`Reached::get`].
    pub async fn post(&mut self, path: &str, order: &Value) -> Result<Value, CliError> {
        let answer = self.control.post(path, order).await.map_err(unreachable)?;
        body(answer)
    }

    /// DELETE.
    ///
    /// # Errors
    /// As [`Reached::get`].
    pub async fn delete(&mut self, path: &str) -> Result<Value, CliError> {
        let answer = self.control.delete(path).await.map_err(unreachable)?;
        body(answer)
    }

    /// Closes what was opened, and answers what the command came to.
    ///
    /// # Errors
    /// The command's own; a store of ours that failed meanwhile is why, whatever was answered.
    pub async fn close<T>(self, came_to: Result<T, CliError>) -> Result<T, CliError> {
        drop(self.control);
        let Some(app) = self.own else {
            return came_to;
        };
        match app.drain(CLOSE_WAIT).await.failed {
            Some(why) => Err(store_failed(&why)),
            None => came_to,
        }
    }
}

fn body(answer: Answer) -> Result<Value, CliError> {
    let exit = match answer.status {
        400 | 422 => Exit::Usage,
        // What is there is not what was asked for.
        404 | 409 | 412 => Exit::Differences,
        401 | 403 => Exit::Permission,
        503 => Exit::TryAgain,
        _ => Exit::Unavailable,
    };
    answer.ok().map_err(|text| CliError::new(exit, text))
}

/// Runs an async command on a small runtime of its own.
///
/// # Errors
/// The runtime cannot be built, or the command's own.
pub fn block_on<F>(command: F) -> Result<Exit, CliError>
where
    F: Future<Output = Result<Exit, CliError>>,
{
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?
        .block_on(command)
}
