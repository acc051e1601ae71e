//! Holds the documents to the product: what they name exists, what is written from tables is not stale.
//!
//! Method: every Markdown file of the repository is read; links, commands, paths, variables and metrics in it are
//! looked up in the file tree, the command line's grammar, the route table, the configuration's keys and the metric
//! catalogues. `docs/api.md` and `docs/configuration.md` are written from the tables themselves by
//! `BURSAR_WRITE_DOCS=1 cargo test --test docs`.
//! Not here: running the commands (`tests/outside/docs/run.sh`).

mod made;
mod names;
mod pages;

use bursar::http::problem::Code;
use pages::{Page, page, pages};
use std::fmt::Write as _;

/// Fails with all that is wrong at once.
fn none(wrong: &[String]) {
    let mut text = String::new();
    for line in wrong {
        let _ = writeln!(text, "  {line}");
    }
    assert!(wrong.is_empty(), "{} things\n{text}", wrong.len());
}

#[test]
fn every_link_leads_somewhere() {
    let all = pages();
    let mut wrong = Vec::new();
    let mut links = 0;
    for from in &all {
        for link in from.links() {
            links += 1;
            wrong.extend(pages::dead_link(from, &link, &all));
        }
    }
    println!("pages={} links={links} dead={}", all.len(), wrong.len());
    assert!(links > 30, "only {links} links were found");
    none(&wrong);
}

#[test]
fn every_command_is_one_the_binary_takes() {
    let (mut wrong, mut commands) = (Vec::new(), 0);
    for page in pages() {
        for (number, line) in page.fenced() {
            for command in names::bursar_commands(&line) {
                commands += 1;
                if let Err(why) = names::parses(&command) {
                    wrong.push(format!("{}:{number}: {command:?}: {why}", page.path));
                }
            }
        }
    }
    println!("commands={commands} wrong={}", wrong.len());
    assert!(commands > 25, "only {commands} commands were found");
    none(&wrong);
}

#[test]
fn every_path_of_the_api_is_routed() {
    let (mut wrong, mut paths) = (Vec::new(), 0);
    for page in pages().iter().filter(|page| page.path != "CHANGELOG.md") {
        for (number, path) in page.api_paths() {
            paths += 1;
            if !names::is_routed(&path) {
                wrong.push(format!("{}:{number}: {path}", page.path));
            }
        }
    }
    println!("api_paths={paths} unrouted={}", wrong.len());
    assert!(paths > 50, "only {paths} paths were found");
    none(&wrong);
}

#[test]
fn every_variable_is_one_of_the_configuration() {
    let (mut wrong, mut variables) = (Vec::new(), 0);
    for page in pages().iter().filter(|page| page.path != "CHANGELOG.md") {
        for (number, variable) in page.words(names::looks_like_a_variable) {
            variables += 1;
            if !names::is_variable(&variable) {
                wrong.push(format!("{}:{number}: {variable}", page.path));
            }
        }
    }
    println!("variables={variables} unknown={}", wrong.len());
    assert!(variables > 60, "only {variables} variables were found");
    none(&wrong);
}

#[test]
fn every_metric_is_in_a_catalogue() {
    let (mut wrong, mut metrics) = (Vec::new(), 0);
    for page in pages() {
        for (number, metric) in page.words(names::looks_like_a_metric) {
            metrics += 1;
            if !names::is_metric(&metric) {
                wrong.push(format!("{}:{number}: {metric}", page.path));
            }
        }
    }
    println!("metrics={metrics} unknown={}", wrong.len());
    assert!(metrics > 5, "only {metrics} metrics were found");
    none(&wrong);
}

#[test]
fn every_code_of_a_refusal_is_explained_in_the_faq() {
    let faq = page("docs/faq.md");
    let headings = faq.headings();
    let mut wrong = Vec::new();
    for code in Code::ALL {
        let heading = format!("`{}`", code.as_str());
        let Some(at) = headings.iter().position(|(_, text)| *text == heading) else {
            wrong.push(format!("{heading} has no entry"));
            continue;
        };
        let from = headings[at].0;
        let to = headings.get(at + 1).map_or(usize::MAX, |next| next.0);
        let said = faq.prose_between(from, to);
        if !said.contains(&format!("{}", code.status())) {
            wrong.push(format!(
                "{heading} does not name its status {}",
                code.status()
            ));
        }
        if said.split_whitespace().count() < 12 {
            wrong.push(format!("{heading} says next to nothing"));
        }
    }
    for (_, text) in &headings {
        let code = text
            .strip_prefix('`')
            .and_then(|text| text.strip_suffix('`'));
        if let Some(code) = code
            && !Code::ALL.iter().any(|known| known.as_str() == code)
        {
            wrong.push(format!("`{code}` is no code any more"));
        }
    }
    println!("codes={} wrong={}", Code::ALL.len(), wrong.len());
    none(&wrong);
}

#[test]
fn what_is_written_from_tables_is_not_stale() {
    let made = [
        ("docs/api.md", made::api()),
        ("docs/configuration.md", made::configuration()),
    ];
    let mut wrong = Vec::new();
    for (path, text) in made {
        if std::env::var_os("BURSAR_WRITE_DOCS").is_some() {
            std::fs::write(pages::root().join(path), &text).expect("the file can be written");
        }
        if page(path).text != text {
            wrong.push(format!(
                "{path} is stale: BURSAR_WRITE_DOCS=1 cargo test --test docs"
            ));
        }
    }
    none(&wrong);
}

#[test]
fn no_page_names_a_place_of_one_machine() {
    let mut wrong = Vec::new();
    for page in pages() {
        for (number, line) in page.text.lines().enumerate() {
            for place in ["/home/", "/root/", "/Users/", "C:\\"] {
                if line.contains(place) {
                    wrong.push(format!("{}:{}: {place}", page.path, number + 1));
                }
            }
        }
    }
    none(&wrong);
}

/// What is planted is found: the rules see something.
#[test]
fn the_rules_notice_what_is_wrong() {
    let planted = Page {
        path: "docs/planted.md".to_owned(),
        text: "# A\n\nSee [b](nowhere.md), [c](#no-such) and [d](#a).\n\n```sh\nbursar demo --twice\nbursar serve\n\
               curl $URL/api/v1/tenantz/acme\n```\n\n`BURSAR_LISTN`, `bursar_events_totally`, `BURSAR_LISTEN`.\n"
            .to_owned(),
    };
    let all = pages();
    let dead = planted
        .links()
        .iter()
        .filter_map(|link| pages::dead_link(&planted, link, &all))
        .count();
    assert_eq!(dead, 2);
    let commands: Vec<String> = planted
        .fenced()
        .iter()
        .flat_map(|(_, line)| names::bursar_commands(line))
        .collect();
    let refused: Vec<&String> = commands
        .iter()
        .filter(|c| names::parses(c).is_err())
        .collect();
    assert_eq!(
        (commands.len(), refused),
        (2, vec![&"bursar demo --twice".to_owned()])
    );
    let paths = planted.api_paths();
    assert_eq!(
        paths
            .iter()
            .filter(|(_, path)| !names::is_routed(path))
            .count(),
        1
    );
    let variables = planted.words(names::looks_like_a_variable);
    assert_eq!(
        variables
            .iter()
            .filter(|(_, v)| !names::is_variable(v))
            .count(),
        1
    );
    let metrics = planted.words(names::looks_like_a_metric);
    assert_eq!(
        metrics.iter().filter(|(_, m)| !names::is_metric(m)).count(),
        1
    );
}
