//! Which tenants a request may see.
//!
//! Every read of tenants' data takes a [`Reach`] (`tenant_store`), and only a [`Caller`] makes one: a handler that
//! forgets to ask whose data it may show does not compile.
//!
//! ```compile_fail
//! // Nobody else can say "everything": the field is private.
//! let everything = bursar::http::auth::Reach(bursar::http::auth::Seen::Everything);
//! ```
//!
//! ```compile_fail
//! // A store read without a reach does not exist.
//! async fn handler(call: bursar::http::route::Call) {
//!     let _ = call.edge.store.rows_by_id(bursar_domain::rows::RowKind::Payment, "pi_1".to_owned()).await;
//! }
//! ```
//!
//! ```
//! async fn handler(call: bursar::http::route::Call) {
//!     let kind = bursar_domain::rows::RowKind::Payment;
//!     let _ = call.edge.store.rows_by_id(&call.reach(), kind, "pi_1".to_owned()).await;
//! }
//! ```
//!
//! Invariants: whoever is bound to a tenant sees that one, whatever the request names; who is nobody sees nothing.

use super::{Caller, Principal};
use bursar_domain::ids::TenantId;

/// Which tenants a request may see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reach(Seen);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    /// No tenant at all: a caller who is nobody, or a person for what is theirs alone.
    Nothing,
    /// One tenant.
    Tenant(TenantId),
    /// Every tenant, and what belongs to none.
    Everything,
}

impl Reach {
    /// Whether something of `tenant` may be seen.
    pub fn covers(&self, tenant: Option<&TenantId>) -> bool {
        match &self.0 {
            Seen::Nothing => false,
            Seen::Tenant(own) => tenant == Some(own),
            Seen::Everything => true,
        }
    }
    /// The one tenant it is of. `None`: nobody's, or everybody's.
    pub const fn tenant(&self) -> Option<&TenantId> {
        match &self.0 {
            Seen::Tenant(tenant) => Some(tenant),
            Seen::Nothing | Seen::Everything => None,
        }
    }
    /// Whether every tenant is seen.
    pub const fn is_everything(&self) -> bool {
        matches!(self.0, Seen::Everything)
    }
    /// This reach, narrowed to one tenant of it. `None`: that tenant is outside.
    pub fn within(&self, tenant: &TenantId) -> Option<Self> {
        self.covers(Some(tenant))
            .then(|| Self(Seen::Tenant(tenant.clone())))
    }
    /// Text for cursors and fingerprints. No tenant's id begins like the other two.
    pub fn text(&self) -> &str {
        match &self.0 {
            Seen::Nothing => "-",
            Seen::Tenant(tenant) => tenant.as_str(),
            Seen::Everything => "*",
        }
    }
}

impl Caller {
    /// What this caller sees when the request names `named`, or nobody.
    pub fn reach(&self, named: Option<&TenantId>) -> Reach {
        if let Some(bound) = &self.bound {
            return Reach(Seen::Tenant(bound.tenant.clone()));
        }
        match (&self.principal, named) {
            (Principal::Operator | Principal::ServiceKey(_), None) => Reach(Seen::Everything),
            (Principal::Operator | Principal::ServiceKey(_), Some(tenant)) => {
                Reach(Seen::Tenant(tenant.clone()))
            }
            (Principal::Anonymous | Principal::ApiKey(_) | Principal::User(_), _) => {
                Reach(Seen::Nothing)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Bound;
    use super::*;
    use bursar_domain::identity::Role;

    fn tenant(id: &str) -> TenantId {
        TenantId::parse(id).unwrap()
    }

    fn caller(principal: Principal, bound: Option<&str>) -> Caller {
        Caller {
            principal,
            scopes: Vec::new(),
            bound: bound.map(|id| Bound {
                tenant: tenant(id),
                role: Role::Owner,
            }),
        }
    }

    #[test]
    fn a_bound_caller_sees_its_own_tenant_whatever_is_named() {
        for principal in [
            Principal::User("u".to_owned()),
            Principal::ApiKey("k".to_owned()),
        ] {
            let bound = caller(principal.clone(), Some("a"));
            for named in [None, Some(tenant("b")), Some(tenant("a"))] {
                let reach = bound.reach(named.as_ref());
                assert_eq!(reach.tenant(), Some(&tenant("a")));
                assert!(!reach.covers(Some(&tenant("b"))) && !reach.covers(None));
                assert_eq!(reach.within(&tenant("b")), None);
            }
            let loose = caller(principal, None).reach(Some(&tenant("b")));
            assert!(!loose.covers(Some(&tenant("b"))) && loose.tenant().is_none());
        }
        assert!(!caller(Principal::Anonymous, None).reach(None).covers(None));
    }

    #[test]
    fn the_installations_own_callers_see_everything_or_what_they_name() {
        let operator = caller(Principal::Operator, None);
        assert!(operator.reach(None).is_everything());
        let named = operator.reach(Some(&tenant("b")));
        assert!(named.covers(Some(&tenant("b"))) && !named.covers(Some(&tenant("a"))));
        let within = operator.reach(None).within(&tenant("b")).unwrap();
        assert_eq!(within, named);
    }
}
