//! The running process: over its control socket, on its addresses, and what its metrics say.
//!
//! Invariants: asks and changes nothing.
//! Failure: what does not answer is a finding; what needs it is then listed as not checked.

use super::ANSWER_WAIT;
use super::finding::Findings;
use crate::control::Control;
use crate::endpoint_watch::METRIC as ENDPOINT_STATE;
use bursar_config::Config;
use secrecy::ExposeSecret;
use serde_json::Value;
use std::net::SocketAddr;

/// Events looked at for the newest of Stripe's.
const EVENTS_LOOKED_AT: usize = 50;

/// What is known of the process that holds the store.
pub(super) struct Running {
    control: Option<Control>,
    metrics: Option<String>,
    /// Connected accounts matter there; `None`: not known.
    pub(super) has_merchants: Option<bool>,
    /// Its mode is another than that of the key given here.
    pub(super) is_of_other_mode: bool,
}

impl Running {
    /// Whether there is a process to ask.
    pub(super) fn is_there(&self) -> bool {
        self.control.is_some()
    }

    /// Finds it and looks at its health and addresses.
    pub(super) async fn look(
        config: &Config,
        http: &reqwest::Client,
        found: &mut Findings,
    ) -> Self {
        let mut running = Self {
            control: None,
            metrics: None,
            has_merchants: None,
            is_of_other_mode: false,
        };
        match Control::over_socket(config.store.data_dir()).await {
            Ok(control) => running.control = control,
            Err(error) => found.fail(
                "process",
                format!("the control socket cannot be used: {error}"),
                "run the doctor as the user that runs `bursar serve`",
            ),
        }
        running.health(config, found).await;
        running.listener(config, http, found).await;
        running.read_metrics(config, http, found).await;
        running
    }

    /// GET over the control socket; `None` without a process or an answer.
    pub(super) async fn get(&mut self, path: &str) -> Option<(u16, Value)> {
        let control = self.control.as_mut()?;
        let answer = tokio::time::timeout(ANSWER_WAIT, control.get(path)).await;
        let answer = answer.ok()?.ok()?;
        Some((answer.status, answer.json))
    }

    async fn health(&mut self, config: &Config, found: &mut Findings) {
        if self.control.is_none() {
            found.warn(
                "process",
                format!("no bursar serves {}", config.store.data_dir().display()),
                "start `bursar serve` with this configuration, or give the doctor the one it runs with",
            );
            found.skip("store's mode", "no process runs that knows it");
            return;
        }
        let Some((status, health)) = self.get("/health").await else {
            found.unreachable(
                "process",
                "the running bursar does not answer on its control socket",
                "look at its log; restart it if it stays so",
            );
            return;
        };
        let version = health["version"].as_str().unwrap_or("?");
        let failing: Vec<String> = health["checks"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|check| check["ok"] != true)
            .map(|check| {
                let word = |field: &str| check[field].as_str().unwrap_or("?").to_owned();
                format!("{}: {}", word("name"), word("detail"))
            })
            .collect();
        if status == 200 && failing.is_empty() {
            found.ok(
                "process",
                format!("bursar {version} runs and is ready; its store answers"),
            );
        } else {
            let text = format!(
                "bursar {version} runs and is not ready: {}",
                failing.join("; ")
            );
            found.fail("process", text, "look at its log");
        }
        let mode = |live: bool| if live { "live" } else { "test" };
        let ours = config.stripe.mode.is_live();
        match health["livemode"].as_bool() {
            Some(live) if live == ours => {
                found.ok("store's mode", format!("{}, like the key", mode(live)));
            }
            Some(live) => {
                self.is_of_other_mode = true;
                let text = format!(
                    "the process is in {} mode, the key is a {} key",
                    mode(live),
                    mode(ours)
                );
                found.fail(
                    "store's mode",
                    text,
                    "one installation serves one mode: use the key of that mode, or another store",
                );
            }
            None => found.skip("store's mode", "the process does not tell it"),
        }
    }

    async fn listener(&self, config: &Config, http: &reqwest::Client, found: &mut Findings) {
        let address = reachable(config.listen);
        let url = format!("http://{address}/livez");
        let answered = http.get(&url).send().await;
        let is_bursar = match answered {
            Ok(answer) => {
                let json: Value = answer.json().await.unwrap_or_default();
                Some(json["status"] == "ok")
            }
            Err(error) if error.is_connect() => None,
            Err(_) => Some(false),
        };
        match (is_bursar, self.is_there()) {
            (Some(true), true) => found.ok("listener", format!("{address} answers")),
            (Some(true), false) => found.warn(
                "listener",
                format!("a bursar answers on {address}, but not one of this data folder"),
                "give the doctor the configuration it runs with, or another address to this one",
            ),
            (Some(false), _) => found.fail(
                "listener",
                format!("another program answers on {address}"),
                "stop it, or give another BURSAR_LISTEN",
            ),
            (None, true) if config.listen.port() == 0 => {
                found.skip(
                    "listener",
                    "port 0 is configured: the real one stands in the process's banner",
                );
            }
            (None, true) => found.fail(
                "listener",
                format!("the process runs, but nothing answers on {address}"),
                "it was started with another --listen: give the doctor the same",
            ),
            (None, false) => found.ok("listener", format!("{address} is free for `bursar serve`")),
        }
    }

    async fn read_metrics(
        &mut self,
        config: &Config,
        http: &reqwest::Client,
        found: &mut Findings,
    ) {
        if !self.is_there() {
            found.skip("metrics", "no process runs");
            return;
        }
        let address = reachable(config.metrics_listen);
        let mut request = http.get(format!("http://{address}/metrics"));
        if let Some(token) = &config.metrics_token {
            request = request.bearer_auth(token.expose_secret());
        }
        match request.send().await {
            Ok(answer) if answer.status() == 200 => {
                self.metrics = answer.text().await.ok();
                found.ok("metrics", format!("{address} answers"));
            }
            Ok(answer) => found.warn(
                "metrics",
                format!("{address} answers {}", answer.status().as_u16()),
                "is BURSAR_METRICS_TOKEN the running process's?",
            ),
            Err(_) => found.warn(
                "metrics",
                format!("nothing answers on {address}"),
                "Prometheus cannot ask there either: was it started with another --metrics-listen?",
            ),
        }
        let state = |word: &str| {
            let labels = format!("endpoint=\"connect\",state=\"{word}\"");
            self.figure(ENDPOINT_STATE, &labels)
        };
        self.has_merchants = match (state("not_needed"), state("unknown")) {
            (Some(1), _) => Some(false),
            (Some(_), Some(0)) => Some(true),
            _ => None,
        };
    }

    /// The value of one series of the process's metrics.
    fn figure(&self, name: &str, labels: &str) -> Option<u64> {
        figure(self.metrics.as_deref()?, name, labels)
    }

    /// Whether Stripe's events come in.
    pub(super) async fn arrivals(&mut self, found: &mut Findings) {
        const NAME: &str = "events arrive";
        if !self.is_there() {
            found.skip(NAME, "no process runs");
            return;
        }
        let bad = self.figure("bursar_webhook_requests_total", "outcome=\"bad_signature\"");
        let bad = bad.unwrap_or(0);
        let path = format!("/api/v1/webhook-events?limit={EVENTS_LOOKED_AT}");
        let Some((200, page)) = self.get(&path).await else {
            found.skip(NAME, "the process does not show its events");
            return;
        };
        let mut events = page["data"].as_array().into_iter().flatten();
        let newest = events.find(|event| event["type"] != super::event::KIND);
        let refused = match bad {
            0 => String::new(),
            n => format!("; {n} deliveries since its start had a wrong signature"),
        };
        let silent = self.figure("bursar_webhooks_silent", "") == Some(1);
        match newest {
            Some(event) => {
                let word = |field: &str| event[field].as_str().unwrap_or("?").to_owned();
                let text = format!("the newest is {} of {}{refused}", word("type"), word("receivedAt"));
                if bad > 0 || silent {
                    let next = "compare STRIPE_WEBHOOK_SECRET with the endpoint's secret at Stripe, and look at its failed deliveries";
                    found.warn(NAME, text, next);
                } else {
                    found.ok(NAME, text);
                }
            }
            None if bad > 0 => found.fail(
                NAME,
                format!("none was accepted{refused}"),
                "STRIPE_WEBHOOK_SECRET is not the secret of the endpoint that sends: copy it from Stripe's dashboard",
            ),
            None => found.warn(
                NAME,
                "none was ever accepted",
                "let Stripe send one (`stripe trigger customer.created`) and look again",
            ),
        }
    }
}

/// The address at which a listener on this machine is reached.
pub(super) fn reachable(address: SocketAddr) -> SocketAddr {
    let mut address = address;
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

/// A whole number in Prometheus's text form: the series of this name whose labels are these.
fn figure(page: &str, name: &str, labels: &str) -> Option<u64> {
    let series = match labels {
        "" => format!("{name} "),
        labels => format!("{name}{{{labels}}} "),
    };
    let value = page.lines().find_map(|line| line.strip_prefix(&series))?;
    value.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_the_one_series_with_these_labels() {
        let page = "# TYPE a gauge\na 3\nab 4\na{x=\"1\"} 5\na{x=\"1\",y=\"2\"} 6\nb 0.5\n";
        assert_eq!(figure(page, "a", ""), Some(3));
        assert_eq!(figure(page, "a", "x=\"1\""), Some(5));
        assert_eq!(figure(page, "a", "x=\"1\",y=\"2\""), Some(6));
        assert_eq!(figure(page, "b", ""), None);
        assert_eq!(figure(page, "c", ""), None);
    }
}
