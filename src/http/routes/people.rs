//! Rows of people: getting in, what is theirs, who belongs to a tenant.

use super::{CURSOR, LIMIT, TENANT, get, post, row};
use crate::http::people::login::SESSION_WORDS;
use crate::http::people::signup::NAME_BYTES_MAX;
use crate::http::people::{
    forgotten, invitations, login, me, members, passwords, sessions, signup, users, verify,
};
use crate::http::problem::Code;
use crate::http::route::{Auth, Holds, Kind, Param, Route, Verb, optional, required};
use bursar_domain::identity::Role;

const EMAIL: Param = required("email", Kind::Email, "The address, in any case.");
const PASSWORD: Param = required("password", Kind::Secret, "8 to 256 characters.");
const NEW_PASSWORD: Param = required("newPassword", Kind::Secret, "8 to 256 characters.");
const TOKEN: Param = required("token", Kind::Secret, "From the link in the mail.");
const TOKEN_OF_PAGE: Param = optional("token", Kind::Secret, "From the link in the mail.");
const ROLE: Param = required("role", Kind::Choice(Role::WORDS), "As what.");

/// What a route that anybody may post to answers.
const OPEN: &[Code] = &[
    Code::Refused,
    Code::RateLimited,
    Code::StoreUnavailable,
    Code::NotAppliedYet,
    Code::StateConflict,
];
const SIGNING_UP: &[Code] = &[
    Code::Refused,
    Code::RateLimited,
    Code::StoreUnavailable,
    Code::SignupClosed,
];
const LOGGING_IN: &[Code] = &[
    Code::Unauthenticated,
    Code::EmailUnverified,
    Code::Refused,
    Code::RateLimited,
    Code::StoreUnavailable,
    Code::NotAppliedYet,
    Code::StateConflict,
];
const JOINING: &[Code] = &[
    Code::StateConflict,
    Code::Unauthenticated,
    Code::InsufficientScope,
    Code::Refused,
    Code::RateLimited,
    Code::StoreUnavailable,
];

pub(super) const ROWS: &[Route] = &[
    Route {
        tag: "people",
        summary: "Signs up for a tenant",
        description: "Always the same answer, whether the address is known or not; what follows comes by mail. The \
                      tenant appears once the address is verified.",
        params: &[
            EMAIL,
            PASSWORD,
            required(
                "tenantName",
                Kind::Text(NAME_BYTES_MAX),
                "What the tenant is called.",
            ),
        ],
        status: 201,
        holds: Holds::One("Sent"),
        codes: SIGNING_UP,
        ..post("/api/v1/signup", "signup", Auth::Public, signup::sign_up)
    },
    Route {
        tag: "people",
        summary: "Sends the mail that verifies an address again",
        description: "The mail before is good no more. At most three times an hour; the answer is always the same.",
        params: &[EMAIL],
        holds: Holds::One("Sent"),
        codes: OPEN,
        ..post(
            "/api/v1/verification/resend",
            "verification_resend",
            Auth::Public,
            signup::resend,
        )
    },
    Route {
        tag: "people",
        summary: "The page a verification's link leads to",
        description: "Opening it changes nothing.",
        params: &[TOKEN_OF_PAGE],
        holds: Holds::Text("text/html"),
        ..get(
            "/verify-email",
            "verify_email_page",
            Auth::Public,
            verify::link_page,
        )
    },
    Route {
        tag: "people",
        summary: "Verifies an address by its link",
        takes_form: true,
        params: &[TOKEN],
        holds: Holds::One("Verified"),
        codes: OPEN,
        ..post("/verify-email", "verify_email", Auth::Public, verify::link)
    },
    Route {
        tag: "people",
        summary: "The page that takes a verification's code",
        params: &[optional("email", Kind::Text(320), "Filled in.")],
        holds: Holds::Text("text/html"),
        ..get(
            "/verify-email-code",
            "verify_email_code_page",
            Auth::Public,
            verify::code_page,
        )
    },
    Route {
        tag: "people",
        summary: "Verifies an address by its code",
        description: "A code is good for ten minutes and five tries.",
        takes_form: true,
        params: &[EMAIL, required("code", Kind::Secret, "The six digits.")],
        holds: Holds::One("Verified"),
        codes: OPEN,
        ..post(
            "/verify-email-code",
            "verify_email_code",
            Auth::Public,
            verify::code,
        )
    },
    Route {
        tag: "people",
        summary: "Logs in",
        description: "Five tries a minute for an address of mail from one place, then waits that grow. With \
                      `session=cookie` the answer sets the console's cookie and holds `csrfToken` in place of tokens.",
        params: &[
            EMAIL,
            PASSWORD,
            optional(
                "session",
                Kind::Choice(SESSION_WORDS),
                "`tokens` if not given.",
            ),
        ],
        holds: Holds::One("Tokens"),
        codes: LOGGING_IN,
        ..post("/api/v1/login", "login", Auth::Public, login::login)
    },
    Route {
        tag: "people",
        summary: "Gives new tokens for a refresh token",
        description: "A refresh token is good once. One that comes again ends the session, since somebody has a copy.",
        params: &[required(
            "refreshToken",
            Kind::Secret,
            "The last one given.",
        )],
        holds: Holds::One("Tokens"),
        codes: LOGGING_IN,
        ..post("/api/v1/refresh", "refresh", Auth::Public, login::refresh)
    },
    Route {
        tag: "people",
        summary: "Logs out",
        description: "Ends the session of the refresh token, access token or cookie the request carries; 204 whether \
                      there was one or not.",
        params: &[optional(
            "refreshToken",
            Kind::Secret,
            "One of the session.",
        )],
        status: 204,
        codes: OPEN,
        ..post("/api/v1/logout", "logout", Auth::Public, login::logout)
    },
    Route {
        tag: "people",
        summary: "Sends the link that sets a new password",
        description: "Always the same answer, whether the address is known or not.",
        params: &[EMAIL],
        holds: Holds::One("Sent"),
        codes: OPEN,
        ..post(
            "/api/v1/password/forgot",
            "password_forgot",
            Auth::Public,
            forgotten::forgot,
        )
    },
    Route {
        tag: "people",
        summary: "The page a reset's link leads to",
        params: &[TOKEN_OF_PAGE],
        holds: Holds::Text("text/html"),
        ..get(
            forgotten::RESET_PATH,
            "password_reset_page",
            Auth::Public,
            forgotten::page,
        )
    },
    Route {
        tag: "people",
        aliases: &[forgotten::RESET_PATH],
        summary: "Sets a new password by the link of a mail",
        description: "Every session of the person ends.",
        takes_form: true,
        params: &[TOKEN, NEW_PASSWORD],
        holds: Holds::One("Sent"),
        codes: OPEN,
        ..post(
            "/api/v1/password/reset",
            "password_reset",
            Auth::Public,
            forgotten::reset,
        )
    },
    Route {
        tag: "people",
        summary: "Changes one's own password",
        description: "Every other session of the person ends.",
        params: &[
            required("currentPassword", Kind::Secret, "The present one."),
            NEW_PASSWORD,
        ],
        status: 204,
        codes: &[Code::Refused, Code::NotFound],
        ..post(
            "/api/v1/password/change",
            "password_change",
            Auth::Person,
            passwords::change,
        )
    },
    Route {
        tag: "people",
        summary: "The page an invitation's link leads to",
        params: &[TOKEN_OF_PAGE],
        holds: Holds::Text("text/html"),
        ..get(
            "/invitations/accept",
            "invitations_page",
            Auth::Public,
            invitations::page,
        )
    },
    Route {
        tag: "people",
        aliases: &["/invitations/accept"],
        summary: "Accepts an invitation",
        description: "Somebody new sets a password; who has an account is signed in, or gives its password.",
        takes_form: true,
        params: &[
            TOKEN,
            optional("password", Kind::Secret, "A new one, or the account's."),
            optional(
                "name",
                Kind::Text(NAME_BYTES_MAX),
                "What a new person is called.",
            ),
        ],
        holds: Holds::One("Joined"),
        codes: JOINING,
        ..post(
            "/api/v1/invitations/accept",
            "invitations_accept",
            Auth::Public,
            invitations::accept,
        )
    },
    Route {
        tag: "people",
        summary: "Lists where one is signed in",
        holds: Holds::Page("Session"),
        ..get(
            "/api/v1/sessions",
            "sessions_list",
            Auth::Person,
            sessions::list,
        )
    },
    Route {
        tag: "people",
        summary: "Ends a session of one's own",
        description: "Its tokens are refused from the next request on.",
        status: 204,
        ..row(
            Verb::Delete,
            "/api/v1/sessions/{id}",
            "sessions_end",
            Auth::Person,
            sessions::end,
        )
    },
    Route {
        tag: "people",
        summary: "Oneself, and where one belongs",
        holds: Holds::One("Me"),
        codes: &[Code::NotFound],
        ..get("/api/v1/me", "me", Auth::Person, me::get)
    },
    Route {
        tag: "people",
        summary: "Changes one's name or default tenant",
        params: &[
            optional("name", Kind::Text(NAME_BYTES_MAX), "What one is called."),
            optional(
                "defaultTenantId",
                Kind::Tenant,
                "Where one acts if a request picks no tenant; `null` clears it.",
            ),
        ],
        holds: Holds::One("Me"),
        codes: &[Code::NotFound, Code::Refused],
        ..row(
            Verb::Patch,
            "/api/v1/me",
            "me_patch",
            Auth::Person,
            me::patch,
        )
    },
    Route {
        tag: "people",
        summary: "Lists who belongs to the tenant, and who is invited",
        params: &[LIMIT, CURSOR, TENANT],
        holds: Holds::Page("Member"),
        ..get(
            "/api/v1/members",
            "members_list",
            Auth::Tenant(&[], Role::Member),
            members::list,
        )
    },
    Route {
        tag: "people",
        summary: "Invites an address to the tenant",
        description: "Nobody invites to a role they may not grant.",
        params: &[EMAIL, ROLE, TENANT],
        status: 201,
        holds: Holds::One("Member"),
        codes: &[Code::NotFound, Code::StateConflict],
        ..post(
            "/api/v1/members",
            "members_invite",
            Auth::Tenant(&[], Role::Admin),
            members::invite,
        )
    },
    Route {
        tag: "people",
        summary: "Changes what somebody is in the tenant",
        description: "It acts at their next request. The last owner stays one.",
        params: &[ROLE, TENANT],
        holds: Holds::One("Member"),
        codes: &[Code::StateConflict],
        ..row(
            Verb::Patch,
            "/api/v1/members/{id}",
            "members_change",
            Auth::Tenant(&[], Role::Admin),
            members::change,
        )
    },
    Route {
        tag: "people",
        summary: "Removes somebody from the tenant, leaves it, or takes an invitation back",
        description: "Everybody may leave but the last owner.",
        params: &[TENANT],
        status: 204,
        codes: &[Code::StateConflict],
        ..row(
            Verb::Delete,
            "/api/v1/members/{id}",
            "members_remove",
            Auth::Tenant(&[], Role::Viewer),
            members::remove,
        )
    },
    Route {
        tag: "people",
        summary: "Lists people, the oldest account first",
        params: &[
            LIMIT,
            CURSOR,
            optional("email", Kind::Email, "Only who has this address."),
        ],
        holds: Holds::Page("User"),
        ..get("/api/v1/users", "users_list", Auth::Operator, users::list)
    },
    Route {
        tag: "people",
        summary: "Invites somebody into a tenant",
        description: "The way to make the first owner of a tenant; the mail leads to where they set a password.",
        params: &[
            EMAIL,
            required("tenantId", Kind::Tenant, "Where to."),
            optional(
                "role",
                Kind::Choice(Role::WORDS),
                "As what; `owner` if not given.",
            ),
        ],
        status: 201,
        holds: Holds::One("Member"),
        codes: &[Code::NotFound, Code::StateConflict],
        ..post(
            "/api/v1/users",
            "users_invite",
            Auth::Operator,
            users::invite,
        )
    },
    Route {
        tag: "people",
        summary: "Ends every session of a person",
        status: 204,
        ..post(
            "/api/v1/users/{id}/end-sessions",
            "users_end_sessions",
            Auth::Operator,
            users::end_sessions,
        )
    },
    Route {
        tag: "people",
        summary: "Forgets a person",
        description: "Account, places, sessions; what they did stays under an id that names nobody. Not the last owner \
                      of a tenant.",
        status: 204,
        codes: &[Code::StateConflict],
        ..row(
            Verb::Delete,
            "/api/v1/users/{id}",
            "users_forget",
            Auth::Operator,
            users::forget,
        )
    },
];
