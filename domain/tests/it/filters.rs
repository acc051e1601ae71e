//! Types of notifications: their order, and which filters let them through.

use bursar_domain::notification::{TYPES, is_filter, passes, rank};

#[test]
fn a_type_stands_where_the_list_has_it_and_an_unknown_one_last() {
    for (place, kind) in TYPES.iter().enumerate() {
        assert_eq!(rank(kind), place, "{kind}");
    }
    assert_eq!(rank("payment.forgotten"), TYPES.len());
}

#[test]
fn a_filter_is_a_type_or_a_group_and_nothing_else() {
    for good in ["payment.failed", "payment.*", "license.*"] {
        assert!(is_filter(good), "{good}");
    }
    for bad in [
        "",
        "*",
        "payment",
        "payment.",
        ".*",
        "payments.*",
        "payment.forgotten",
        "payment.failed.*",
    ] {
        assert!(!is_filter(bad), "{bad}");
    }
}

#[test]
fn filters_let_through_what_they_name_and_none_lets_all_through() {
    let none: [&str; 0] = [];
    assert!(passes(&none, "payment.failed"));
    assert!(passes(&["payment.failed"], "payment.failed"));
    assert!(!passes(&["payment.failed"], "payment.succeeded"));
    assert!(passes(
        &["refund.created", "payment.*"],
        "payment.succeeded"
    ));
    assert!(!passes(&["payment.*"], "refund.created"));
    assert!(!passes(&["pay.*"], "payment.failed"));
}
