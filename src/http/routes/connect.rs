//! Rows of the tenant as a merchant.

use super::orders::{FOR_TENANT, URL};
use super::{TENANT, get, post};
use crate::http::auth::Scope;
use crate::http::commands::connect;
use crate::http::problem::Code;
use crate::http::reads;
use crate::http::route::{Auth, Holds, Kind, Route, optional};
use bursar_domain::identity::Role;

/// Whether a tenant's own may open accounts is `CONNECT_ONBOARDING`'s to say, too.
const ORDER: Auth = Auth::Tenant(&[Scope::Connect], Role::Admin);
const READ: Auth = Auth::Tenant(&[Scope::Connect, Scope::TenantsRead], Role::Viewer);

const ACCOUNT: &[Code] = &[
    Code::StateConflict,
    Code::StripeRefused,
    Code::StripeUnavailable,
    Code::StripeCircuitOpen,
    Code::NotAppliedYet,
];
const LINK: &[Code] = &[
    Code::ReturnUrlNotAllowed,
    Code::StripeRefused,
    Code::StripeUnavailable,
    Code::StripeCircuitOpen,
    Code::NotAppliedYet,
];
const LOGIN: &[Code] = &[
    Code::StripeRefused,
    Code::StripeUnavailable,
    Code::StripeCircuitOpen,
];

/// The rows.
pub(super) const ROWS: &[Route] = &[
    Route {
        tag: "connect",
        summary: "Opens an Express account for the tenant",
        description: "Once: 200 with the account if the tenant has one that is connected. The account may do nothing \
                      until its owner went through Stripe's form, to which an account link leads. One that \
                      disconnected itself is replaced by a new one.",
        params: &[
            FOR_TENANT,
            optional("email", Kind::Email, "Filled in for the merchant."),
            optional(
                "country",
                Kind::Text(2),
                "Two letters; the platform's country if not given. It cannot change later.",
            ),
        ],
        status: 201,
        holds: Holds::One("Merchant"),
        orders: true,
        codes: ACCOUNT,
        ..post(
            "/api/v1/connect/accounts",
            "connect_account_open",
            ORDER,
            connect::open_account,
        )
    },
    Route {
        tag: "connect",
        summary: "A way into Stripe's form for the tenant's account",
        description: "Good once, for minutes. The way back says nothing about completion: the account does. 404 while \
                      the tenant has no connected account.",
        params: &[
            FOR_TENANT,
            optional("returnUrl", URL, "Where the way back leads to."),
            optional(
                "refreshUrl",
                URL,
                "Where a link that is spent leads to: ask for a new one there.",
            ),
        ],
        holds: Holds::One("AccountLink"),
        orders: true,
        codes: LINK,
        ..post(
            "/api/v1/connect/account-links",
            "connect_link_open",
            ORDER,
            connect::open_link,
        )
    },
    Route {
        tag: "connect",
        summary: "A way into the merchant's Express dashboard",
        description: "Made at Stripe with every call. 422 in Stripe's words until the form is finished.",
        params: &[TENANT],
        holds: Holds::One("LoginLink"),
        codes: LOGIN,
        ..get(
            "/api/v1/connect/express-login-link",
            "connect_login_link",
            ORDER,
            connect::login_link,
        )
    },
    Route {
        tag: "connect",
        summary: "The tenant's Connect account",
        description: "The newest that is connected, else the newest there was.",
        params: &[TENANT],
        holds: Holds::One("Merchant"),
        ..get(
            "/api/v1/connect/account",
            "connect_account",
            READ,
            reads::merchant,
        )
    },
];
