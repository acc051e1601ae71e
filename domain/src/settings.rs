//! What the reducers may know of the installation's configuration.
//!
//! Invariants: a plain value; its `fingerprint` is journalled with every decision, and a decision
//! made under other settings is not compared by `verify` but counted.

use crate::plans::Catalogue;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// What a paid Payment Link session does for a visitor nobody knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PaymentLinkCheckouts {
    /// Makes a new tenant.
    #[default]
    Create,
    /// Waits in `unclaimed`.
    Hold,
}

/// Which receipts go to the owner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Receipts {
    /// None.
    Off,
    /// Only for the first payment.
    First,
    /// For every payment.
    #[default]
    All,
}

/// Reducer settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// The plans.
    pub catalogue: Catalogue,
    /// Metadata keys that name a tenant, best first (`TENANT_METADATA_KEYS`).
    pub tenant_metadata_keys: Vec<String>,
    /// Payment Links (`PAYMENT_LINK_CHECKOUTS`).
    pub payment_link_checkouts: PaymentLinkCheckouts,
    /// Receipts to the owner.
    pub receipts: Receipts,
    /// The mode of the installation: `true` live, `false` test.
    pub livemode: bool,
    /// The platform's own account id if known; part of names derived for Payment Link tenants.
    pub platform_account: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            catalogue: Catalogue::default(),
            tenant_metadata_keys: vec!["tenant_id".into(), "workspace_id".into()],
            payment_link_checkouts: PaymentLinkCheckouts::default(),
            receipts: Receipts::default(),
            livemode: false,
            platform_account: String::new(),
        }
    }
}

impl Settings {
    /// First 16 bytes of the SHA-256 of the canonical JSON, hex.
    pub fn fingerprint(&self) -> String {
        let json = serde_json::to_vec(self).expect("settings are plain values with text keys");
        hex::encode(&Sha256::digest(json)[..16])
    }
}
