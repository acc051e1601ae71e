//! The configuration of a command that opens a store itself: everything a running Bursar needs, with
//! made-up secrets, because it listens on nothing and calls nobody.
//!
//! Invariants: the store, the plans and how events are read are the tool's own, so that what it
//! decides is what the service would decide; the mode is the Stripe key's, else test.
//! Failure: no randomness.

use crate::config::{Config, MailTransport, ToolConfig};
use crate::demo::DemoArgs;
use crate::problem::Problems;

/// An address nobody listens on: the discard port of this machine.
const NOWHERE: &str = "http://127.0.0.1:9";

impl Config {
    /// What a command needs to open this store; `None` for the mode means that no key is known here.
    ///
    /// # Errors
    /// A system without random numbers.
    pub fn for_tool(tool: &ToolConfig) -> Result<Self, Problems> {
        let args = DemoArgs {
            listen: ([127, 0, 0, 1], 0).into(),
            metrics_listen: ([127, 0, 0, 1], 0).into(),
            data_dir: tool.store.data_dir().to_owned(),
            stripe_api_base: NOWHERE.to_owned(),
            mail_server: None,
            // Replaced below.
            plans_toml: None,
        };
        let mut config = Self::for_demo(&args)?;
        config.plans = tool.plans.clone();
        config.events = tool.events.clone();
        config.log = tool.log.clone();
        config.mail.receipts = tool.receipts;
        config.mail.transport = MailTransport::Hold;
        config.is_tool = true;
        if let Some(mode) = tool.mode {
            config.stripe.mode = mode;
        }
        Ok(config)
    }
}
