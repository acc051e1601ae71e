//! Markdown, as far as these tests need it: links, headings, fenced blocks, words.

use std::fs;
use std::path::{Path, PathBuf};

/// One file.
pub(crate) struct Page {
    /// From the repository's root, with forward slashes.
    pub(crate) path: String,
    /// Its text.
    pub(crate) text: String,
}

/// The repository.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every page people read.
pub(crate) fn pages() -> Vec<Page> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root()).expect("the root can be read") {
        let path = entry.expect("the root can be read").path();
        if path.extension().is_some_and(|end| end == "md") {
            found.push(read(&path));
        }
    }
    for folder in ["docs", "packaging", "dashboards", "examples"] {
        collect(&root().join(folder), &mut found);
    }
    assert!(found.len() > 12, "only {} pages were found", found.len());
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// One of them.
pub(crate) fn page(path: &str) -> Page {
    read(&root().join(path))
}

fn collect(folder: &Path, found: &mut Vec<Page>) {
    for entry in fs::read_dir(folder).expect("the folder can be read") {
        let path = entry.expect("the folder can be read").path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|end| end == "md") {
            found.push(read(&path));
        }
    }
}

fn read(path: &Path) -> Page {
    let relative = path.strip_prefix(root()).expect("below the root");
    Page {
        path: relative.to_string_lossy().replace('\\', "/"),
        text: fs::read_to_string(path).unwrap_or_default(),
    }
}

impl Page {
    /// Lines inside fenced or indented blocks, with their numbers; a line that goes on with `\` is one.
    pub(crate) fn fenced(&self) -> Vec<(usize, String)> {
        let (mut found, mut is_open): (Vec<(usize, String)>, bool) = (Vec::new(), false);
        let mut goes_on = false;
        for (index, line) in self.text.lines().enumerate() {
            if line.trim_start().starts_with("```") {
                is_open = !is_open;
                goes_on = false;
                continue;
            }
            if !is_open && !line.starts_with("    ") {
                goes_on = false;
                continue;
            }
            let more = line.trim_end().ends_with('\\');
            let text = line.trim().trim_end_matches('\\').trim_end();
            match found.last_mut() {
                Some((_, last)) if goes_on => {
                    last.push(' ');
                    last.push_str(text);
                }
                _ => found.push((index + 1, text.to_owned())),
            }
            goes_on = more;
        }
        found
    }

    /// Lines outside fenced blocks, with their numbers.
    fn prose(&self) -> Vec<(usize, &str)> {
        let mut is_open = false;
        let mut found = Vec::new();
        for (index, line) in self.text.lines().enumerate() {
            if line.trim_start().starts_with("```") {
                is_open = !is_open;
            } else if !is_open {
                found.push((index + 1, line));
            }
        }
        found
    }

    /// Prose of the lines after `from` and before `to`, in one text.
    pub(crate) fn prose_between(&self, from: usize, to: usize) -> String {
        let lines = self.prose();
        let within = lines
            .iter()
            .filter(|(number, _)| *number > from && *number < to);
        within.map(|(_, line)| format!("{line}\n")).collect()
    }

    /// Headings: line and text.
    pub(crate) fn headings(&self) -> Vec<(usize, &str)> {
        let lines = self.prose().into_iter();
        lines
            .filter(|(_, line)| line.starts_with('#'))
            .map(|(number, line)| (number, line.trim_start_matches('#').trim()))
            .collect()
    }

    fn anchors(&self) -> Vec<String> {
        let mut found: Vec<String> = Vec::new();
        for (_, heading) in self.headings() {
            let base = slug(heading);
            let again = found.iter().filter(|known| **known == base).count();
            found.push(if again == 0 {
                base
            } else {
                format!("{base}-{again}")
            });
        }
        found
    }

    /// Targets of links and pictures.
    pub(crate) fn links(&self) -> Vec<String> {
        let mut found = Vec::new();
        for (_, line) in self.prose() {
            let plain = without_code(line);
            for (at, _) in plain.match_indices("](") {
                let target = plain[at + 2..].split(')').next().unwrap_or_default();
                found.push(target.to_owned());
            }
        }
        found
    }

    /// Paths of the API, wherever they stand, with their lines; a query is cut off.
    pub(crate) fn api_paths(&self) -> Vec<(usize, String)> {
        let mut found = Vec::new();
        for (index, line) in self.text.lines().enumerate() {
            for (at, _) in line.match_indices("/api/v1/") {
                let rest = &line[at..];
                let ends = |c: char| c.is_whitespace() || "`\"'?,;)|#[…\\".contains(c);
                let path = rest.split(ends).next().unwrap_or_default();
                let path = path.trim_end_matches(['.', ':', '/', '*']);
                if path.len() > "/api/v1/".len() {
                    found.push((index + 1, path.to_owned()));
                }
            }
        }
        found
    }

    /// Words of letters, digits and `_` that look like something, with their lines.
    pub(crate) fn words(&self, looks: fn(&str) -> bool) -> Vec<(usize, String)> {
        let mut found = Vec::new();
        for (index, line) in self.text.lines().enumerate() {
            let words = line.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
            found.extend(
                words
                    .filter(|word| looks(word))
                    .map(|w| (index + 1, w.to_owned())),
            );
        }
        found
    }
}

/// A heading's anchor, as GitHub makes it.
pub(crate) fn slug(heading: &str) -> String {
    let kept = heading
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c })
        .collect::<String>()
        .to_lowercase()
}

fn without_code(line: &str) -> String {
    let parts = line.split('`').enumerate();
    parts
        .map(|(n, part)| if n % 2 == 0 { part } else { "" })
        .collect()
}

/// What is wrong with a link, if it leads nowhere. Other sites are not asked.
pub(crate) fn dead_link(from: &Page, link: &str, all: &[Page]) -> Option<String> {
    if link.starts_with("https://") || link.starts_with("http://") || link.starts_with("mailto:") {
        return None;
    }
    let wrong = Some(format!("{}: ({link})", from.path));
    let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
    let folder = Path::new(&from.path).parent().unwrap_or(Path::new(""));
    let mut target = PathBuf::new();
    for part in folder.join(file).components() {
        match part {
            std::path::Component::ParentDir => {
                target.pop();
            }
            other => target.push(other),
        }
    }
    if file.is_empty() {
        target = PathBuf::from(&from.path);
    }
    // A page that is only planted has no file.
    let is_self = target == Path::new(&from.path);
    if !is_self && !root().join(&target).exists() {
        return wrong;
    }
    if anchor.is_empty() {
        return None;
    }
    let target = target.to_string_lossy();
    let found = if is_self {
        Some(from)
    } else {
        all.iter().find(|page| page.path == *target)
    };
    let is_there = found.is_some_and(|page| page.anchors().iter().any(|known| known == anchor));
    if is_there { None } else { wrong }
}
