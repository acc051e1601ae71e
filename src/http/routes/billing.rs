//! Rows of tenants, billing objects, credits, and what happened to them.

use super::{
    ACCOUNT, CREATED_AFTER, CREATED_BEFORE, CURSOR, LIMIT, SINGLE, TENANT, WAIT, get, list, post,
    row, status,
};
use crate::http::auth::Scope;
use crate::http::commands::session;
use crate::http::problem::Code;
use crate::http::route::{Auth, Holds, Kind, Param, Route, Verb, optional, required};
use crate::http::{credits, entitlements, erase, history, reads, tenants, words};
use bursar_domain::identity::Role;

const READ: Auth = Auth::Tenant(
    &[
        Scope::TenantsRead,
        Scope::TenantsWrite,
        Scope::Billing,
        Scope::Refunds,
    ],
    Role::Viewer,
);
/// Nobody makes a tenant from within one.
const CREATE: Auth = Auth::Scopes(&[Scope::TenantsWrite]);
const CHANGE: Auth = Auth::Tenant(&[Scope::TenantsWrite], Role::Admin);
/// What concerns the personal data of all of a tenant's people.
const PERSONAL: Auth = Auth::Tenant(&[Scope::TenantsWrite], Role::Owner);
const CREDITS: Auth = Auth::Tenant(&[Scope::Credits], Role::Admin);
const CREDITS_READ: Auth = Auth::Tenant(&[Scope::Credits, Scope::TenantsRead], Role::Viewer);

const NAME: Kind = Kind::Text(255);

const SUBSCRIPTIONS: &[Param] = &list(words::SUBSCRIPTION);
const INVOICES: &[Param] = &list(words::INVOICE);
const PAYMENTS: &[Param] = &list(words::PAYMENT);
const REFUNDS: &[Param] = &list(words::REFUND);
const DISPUTES: &[Param] = &list(words::DISPUTE);
const CUSTOMERS: &[Param] = &list(words::CUSTOMER);
const SESSIONS: &[Param] = &list(words::SESSION);

/// The rows.
pub(super) const ROWS: &[Route] = &[
    Route {
        tag: "tenants",
        summary: "Lists tenants",
        description: "Archived ones only with `archived=true`.",
        params: &[
            LIMIT,
            CURSOR,
            TENANT,
            status(words::TENANT),
            CREATED_AFTER,
            CREATED_BEFORE,
            optional("archived", Kind::Boolean, "Also archived tenants."),
        ],
        holds: Holds::Page("Tenant"),
        ..get("/api/v1/tenants", "tenants_list", READ, reads::tenants)
    },
    Route {
        tag: "tenants",
        summary: "Creates a tenant",
        description: "200 with the tenant if one of this id exists and is equal.",
        params: &[
            optional(
                "tenantId",
                Kind::Tenant,
                "Its id; a UUID is drawn if not given.",
            ),
            optional("name", NAME, "Its name."),
            optional("email", Kind::Email, "Its owner's address."),
            optional("metadata", Kind::Metadata, "Notes of your own."),
            optional("timezone", Kind::Zone, "IANA time zone, for mails."),
        ],
        status: 201,
        holds: Holds::One("Tenant"),
        codes: &[Code::TenantExists, Code::NotAppliedYet],
        ..post("/api/v1/tenants", "tenants_create", CREATE, tenants::create)
    },
    Route {
        tag: "tenants",
        summary: "One tenant",
        description: "`ETag` is its version; `If-None-Match` answers 304. With `waitSeconds` the \
                      answer waits until `minVersion` is reached, or until the tenant differs \
                      from the `ETag` in `If-None-Match`.",
        params: &[
            optional(
                "minVersion",
                Kind::Integer(0, i64::MAX),
                "Waits for this version.",
            ),
            WAIT,
        ],
        holds: Holds::One("Tenant"),
        ..get(
            "/api/v1/tenants/{tenantId}",
            "tenants_get",
            READ,
            tenants::get,
        )
    },
    Route {
        tag: "tenants",
        summary: "Changes a tenant",
        description: "`If-Match` with an `ETag` changes only what was read: of several at once that \
                      name the same version one is done and the others are 412. `null`, or an \
                      empty text, clears a field.",
        params: &[
            optional("name", NAME, "Its name."),
            optional("email", Kind::Email, "Its owner's address."),
            optional("metadata", Kind::Metadata, "Replaces all notes."),
            optional("timezone", Kind::Zone, "IANA time zone, for mails."),
            optional(
                "contract.reference",
                Kind::Text(255),
                "Your own name of the contract.",
            ),
        ],
        holds: Holds::One("Tenant"),
        codes: &[Code::PreconditionFailed, Code::NotAppliedYet],
        ..row(
            Verb::Patch,
            "/api/v1/tenants/{tenantId}",
            "tenants_patch",
            CHANGE,
            tenants::patch,
        )
    },
    Route {
        tag: "tenants",
        summary: "What a tenant's licence allows",
        params: &[LIMIT, CURSOR],
        holds: Holds::Page("Entitlement"),
        ..get(
            "/api/v1/tenants/{tenantId}/entitlements",
            "entitlements_list",
            READ,
            entitlements::list,
        )
    },
    Route {
        tag: "tenants",
        summary: "Whether a tenant may use one feature",
        description: "200 for \"no\" too; 404 `unknown_feature` for a name no plan has.",
        holds: Holds::One("Entitlement"),
        codes: &[Code::UnknownFeature],
        ..get(
            "/api/v1/tenants/{tenantId}/entitlements/{feature}",
            "entitlements_get",
            READ,
            entitlements::get,
        )
    },
    Route {
        tag: "tenants",
        summary: "Everything kept about a tenant, personal data included",
        holds: Holds::One("Export"),
        ..get(
            "/api/v1/tenants/{tenantId}/export",
            "tenants_export",
            PERSONAL,
            tenants::export,
        )
    },
    Route {
        tag: "tenants",
        summary: "Erases a tenant's personal data",
        description: "Ids, amounts and the ledger stay; what Stripe says of it later is kept without \
                      personal fields. `complete` is false while something waits that can only be \
                      read with the data: ask again once it is applied. 409 while a subscription \
                      lives.",
        holds: Holds::One("Erased"),
        codes: &[Code::SubscriptionExists, Code::NotAppliedYet],
        ..post(
            "/api/v1/tenants/{tenantId}/erase",
            "tenants_erase",
            PERSONAL,
            erase::erase,
        )
    },
    Route {
        tag: "tenants",
        summary: "What happened to a tenant, oldest first",
        params: &[LIMIT, CURSOR],
        holds: Holds::Page("TimelineEntry"),
        ..get(
            "/api/v1/tenants/{tenantId}/timeline",
            "tenants_timeline",
            READ,
            history::of_tenant,
        )
    },
    Route {
        tag: "credits",
        summary: "Spends credits",
        description: "The same `reference` counts once, for ever; with another `amount` it is 409 \
                      `debit_reference_reused`.",
        params: &[
            required("amount", Kind::Integer(1, 1_000_000_000_000), "How many."),
            required(
                "reference",
                Kind::Text(255),
                "Your own name for this debit.",
            ),
        ],
        holds: Holds::One("Debit"),
        codes: &[
            Code::InsufficientCredits,
            Code::DebitReferenceReused,
            Code::NotAppliedYet,
        ],
        ..post(
            "/api/v1/tenants/{tenantId}/credits/debits",
            "credits_debit",
            CREDITS,
            credits::debit,
        )
    },
    Route {
        tag: "credits",
        summary: "Grants, reversals and debits, newest first",
        params: &[LIMIT, CURSOR],
        holds: Holds::Page("CreditEntry"),
        ..get(
            "/api/v1/tenants/{tenantId}/credits/entries",
            "credits_entries",
            CREDITS_READ,
            credits::entries,
        )
    },
    Route {
        tag: "billing",
        summary: "The plan catalogue",
        params: &[LIMIT, CURSOR],
        holds: Holds::Page("Plan"),
        ..get("/api/v1/plans", "plans_list", READ, reads::plans)
    },
    Route {
        tag: "billing",
        summary: "One plan",
        holds: Holds::One("Plan"),
        ..get("/api/v1/plans/{id}", "plans_get", READ, reads::plan)
    },
    listed(
        "/api/v1/subscriptions",
        "subscriptions_list",
        "Lists subscriptions",
        "Subscription",
        SUBSCRIPTIONS,
        reads::subscriptions,
    ),
    single(
        "/api/v1/subscriptions/{id}",
        "subscriptions_get",
        "One subscription",
        "Subscription",
        reads::subscription,
    ),
    listed(
        "/api/v1/invoices",
        "invoices_list",
        "Lists invoices",
        "Invoice",
        INVOICES,
        reads::invoices,
    ),
    single(
        "/api/v1/invoices/{id}",
        "invoices_get",
        "One invoice",
        "Invoice",
        reads::invoice,
    ),
    listed(
        "/api/v1/payments",
        "payments_list",
        "Lists payments",
        "Payment",
        PAYMENTS,
        reads::payments,
    ),
    single(
        "/api/v1/payments/{id}",
        "payments_get",
        "One payment, by its intent's or its charge's id",
        "Payment",
        reads::payment,
    ),
    listed(
        "/api/v1/refunds",
        "refunds_list",
        "Lists refunds",
        "Refund",
        REFUNDS,
        reads::refunds,
    ),
    single(
        "/api/v1/refunds/{id}",
        "refunds_get",
        "One refund",
        "Refund",
        reads::refund,
    ),
    listed(
        "/api/v1/disputes",
        "disputes_list",
        "Lists disputes",
        "Dispute",
        DISPUTES,
        reads::disputes,
    ),
    single(
        "/api/v1/disputes/{id}",
        "disputes_get",
        "One dispute",
        "Dispute",
        reads::dispute,
    ),
    listed(
        "/api/v1/customers",
        "customers_list",
        "Lists customers",
        "Customer",
        CUSTOMERS,
        reads::customers,
    ),
    single(
        "/api/v1/customers/{id}",
        "customers_get",
        "One customer",
        "Customer",
        reads::customer,
    ),
    listed(
        "/api/v1/checkout-sessions",
        "checkout_sessions_list",
        "Lists checkout sessions",
        "CheckoutSession",
        SESSIONS,
        reads::sessions,
    ),
    Route {
        tag: "billing",
        summary: "One checkout session, waiting for its outcome if asked to",
        params: &[TENANT, ACCOUNT, WAIT],
        holds: Holds::One("CheckoutSession"),
        ..get(
            "/api/v1/checkout-sessions/{id}",
            "checkout_sessions_get",
            READ,
            session::get,
        )
    },
    Route {
        tag: "billing",
        summary: "What happened to a payment, oldest first",
        params: &[LIMIT, CURSOR, TENANT, ACCOUNT],
        holds: Holds::Page("TimelineEntry"),
        ..get(
            "/api/v1/payments/{id}/timeline",
            "payments_timeline",
            READ,
            history::of_payment,
        )
    },
    Route {
        tag: "billing",
        summary: "Movements of money of a payment, oldest first",
        params: &[LIMIT, CURSOR, TENANT, ACCOUNT],
        holds: Holds::Page("LedgerEntry"),
        ..get(
            "/api/v1/payments/{id}/transactions",
            "payments_transactions",
            READ,
            history::transactions,
        )
    },
    Route {
        tag: "billing",
        summary: "The ledger, oldest first",
        description: "Append-only; the entries of one source sum to zero per currency.",
        params: &[
            LIMIT,
            CURSOR,
            TENANT,
            optional("paymentId", Kind::Id, "Only this payment's."),
            optional(
                "account",
                Kind::Choice(history::ACCOUNT_WORDS),
                "Only this account.",
            ),
        ],
        holds: Holds::Page("LedgerEntry"),
        ..get("/api/v1/ledger", "ledger", READ, history::ledger)
    },
    Route {
        tag: "billing",
        summary: "Why something is in the state it is in",
        description: "Every event and order that names the id, and what each of them changed.",
        params: &[TENANT],
        holds: Holds::One("Explained"),
        ..get("/api/v1/explain/{id}", "explain", READ, history::explain)
    },
];

const fn listed(
    path: &'static str,
    label: &'static str,
    summary: &'static str,
    schema: &'static str,
    params: &'static [Param],
    run: crate::http::route::Handler,
) -> Route {
    Route {
        tag: "billing",
        summary,
        params,
        holds: Holds::Page(schema),
        ..get(path, label, READ, run)
    }
}

const fn single(
    path: &'static str,
    label: &'static str,
    summary: &'static str,
    schema: &'static str,
    run: crate::http::route::Handler,
) -> Route {
    Route {
        tag: "billing",
        summary,
        params: SINGLE,
        holds: Holds::One(schema),
        ..get(path, label, READ, run)
    }
}
