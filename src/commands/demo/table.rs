//! What the demo prints: arrows while it plays, a table at the end.

use std::fmt::Write;

/// How a step ended.
#[derive(Clone, Debug)]
pub(super) struct StepResult {
    /// What happened.
    pub(super) title: &'static str,
    /// Webhooks it caused.
    pub(super) webhooks: usize,
    /// What is not as it should be; empty: all is.
    pub(super) wrong: Vec<String>,
}

/// The table of all steps and a last line that counts.
pub(super) fn render(results: &[StepResult]) -> String {
    let width = results
        .iter()
        .map(|result| result.title.len())
        .max()
        .unwrap_or(0);
    let mut text = format!("\n  {:<width$}  webhooks  outcome\n", "step");
    for result in results {
        let outcome = if result.wrong.is_empty() {
            "as it should be"
        } else {
            "WRONG"
        };
        let _ = writeln!(
            text,
            "  {:<width$}  {:>8}  {outcome}",
            result.title, result.webhooks
        );
        for wrong in &result.wrong {
            let _ = writeln!(text, "  {:<width$}            {wrong}", "");
        }
    }
    let good = results
        .iter()
        .filter(|result| result.wrong.is_empty())
        .count();
    let _ = writeln!(
        text,
        "\n  {good} of {} steps are as they should be",
        results.len()
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_step_is_named_with_what_differs() {
        let results = [
            StepResult {
                title: "pays",
                webhooks: 3,
                wrong: vec![],
            },
            StepResult {
                title: "renews",
                webhooks: 0,
                wrong: vec!["status: want active, is past_due".into()],
            },
        ];
        let text = render(&results);
        assert!(text.contains("WRONG") && text.contains("want active, is past_due"));
        assert!(text.contains("1 of 2 steps"));
    }
}
