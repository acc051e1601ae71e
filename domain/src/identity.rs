//! People: who may do what within a tenant.
//!
//! Invariants: roles are ordered, and a role includes every right of the ones below; nobody grants a
//! role above their own.
//! Source: contract §3, "Callers"; the role table in ARCHITECTURE.md.

use serde::{Deserialize, Serialize};

/// What a person, or a tenant's API key, may do within one tenant. Ordered from least to most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Sees.
    Viewer,
    /// Also sells: opens checkouts and portals.
    Member,
    /// Also moves money, and people and keys below their own role.
    Admin,
    /// Also other owners.
    Owner,
}

impl Role {
    /// All of them, least first.
    pub const ALL: [Self; 4] = [Self::Viewer, Self::Member, Self::Admin, Self::Owner];
    /// The words, least first.
    pub const WORDS: &'static [&'static str] = &["viewer", "member", "admin", "owner"];
    /// The word of the contract.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Member => "member",
            Self::Admin => "admin",
            Self::Owner => "owner",
        }
    }
    /// The role of this name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == text)
    }
    /// Whether somebody of this role may give `other`, or take it away: admins what is below them, owners all.
    pub fn may_grant(self, other: Self) -> bool {
        match self {
            Self::Owner => true,
            Self::Admin => other < Self::Admin,
            Self::Member | Self::Viewer => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_grants_a_role_above_their_own() {
        for own in Role::ALL {
            assert_eq!(Role::parse(own.as_str()), Some(own));
            for other in Role::ALL {
                assert!(!own.may_grant(other) || other <= own, "{own:?} {other:?}");
            }
        }
        assert!(Role::Admin.may_grant(Role::Member) && !Role::Admin.may_grant(Role::Admin));
        assert_eq!(Role::parse("root"), None);
    }
}
