//! Who may call what, as the table in SECURITY.md: written from the routes, and held against the file by a test.
//!
//! Invariants: a route whose right changes, or a new one, changes the file in the same commit or the test fails.

use crate::console;
use crate::http::route::Auth;
use crate::http::route::Route;
use crate::http::routes::{every_route, labelled};

/// The lines of the table.
pub fn lines() -> Vec<String> {
    let every = every_route().chain(console::ROWS);
    let ours = every.filter(|route| route.auth.is_ours());
    let mut lines: Vec<String> = ours.map(line).collect();
    lines.sort();
    lines
}

/// The right a row asks for: a page's is the one of the route it stands for, and no key opens a page.
fn right(auth: Auth) -> Auth {
    match auth {
        Auth::Console(of) if !of.is_empty() => match labelled(of).auth {
            Auth::Tenant(_, role) => Auth::Tenant(&[], role),
            auth => auth,
        },
        auth => auth,
    }
}

fn line(route: &Route) -> String {
    let (role, scopes) = match right(route.auth) {
        Auth::Console(_) => ("any session".to_owned(), &[][..]),
        Auth::Tenant(scopes, role) => (role.as_str().to_owned(), scopes),
        Auth::PersonOf(role) => (format!("{}, no key", role.as_str()), &[][..]),
        Auth::Person => ("oneself, in any".to_owned(), &[][..]),
        Auth::Scopes(scopes) => ("-".to_owned(), scopes),
        Auth::Operator | Auth::Public | Auth::Stripe => ("-".to_owned(), &[][..]),
    };
    let names: Vec<&str> = scopes.iter().map(|scope| scope.as_str()).collect();
    let keys = match names.as_slice() {
        [] => "-".to_owned(),
        names => names.join(", "),
    };
    format!(
        "| `{}` | {} | {role} | {keys} |",
        route.path,
        route.verb.as_str()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_in_security_md_is_the_one_that_holds() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("SECURITY.md");
        let text = std::fs::read_to_string(path).unwrap();
        let written: Vec<&str> = text
            .lines()
            .filter(|line| line.starts_with("| `/"))
            .collect();
        let holds = lines();
        assert_eq!(
            written,
            holds,
            "SECURITY.md should hold:\n{}",
            holds.join("\n")
        );
    }
}
