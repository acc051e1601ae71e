//! How many commands may be under way: few enough that one tenant cannot take them all.

use bursar_domain::ids::TenantId;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

/// Commands being stored or waited for at once.
const ALL_MAX: usize = 64;
/// Of them, one tenant's.
const TENANT_MAX: usize = 16;

/// Rows of tenants that take turns with each other.
const TURNS: u64 = 64;

/// Places for commands, and turns of tenants; cheap to clone.
#[derive(Clone, Debug)]
pub struct Slots {
    taken: Arc<Mutex<BTreeMap<TenantId, usize>>>,
    turns: Arc<[Arc<tokio::sync::Mutex<()>>]>,
}

impl Default for Slots {
    fn default() -> Self {
        Self {
            taken: Arc::default(),
            turns: (0..TURNS).map(|_| Arc::default()).collect(),
        }
    }
}

/// A place; given back when dropped.
#[derive(Debug)]
pub struct Taken {
    slots: Slots,
    tenant: TenantId,
}

impl Slots {
    /// Takes a place, if there is one.
    pub fn take(&self, tenant: &TenantId) -> Option<Taken> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = taken.values().sum();
        let own = taken.get(tenant).copied().unwrap_or(0);
        if all >= ALL_MAX || own >= TENANT_MAX {
            return None;
        }
        taken.insert(tenant.clone(), own + 1);
        Some(Taken {
            slots: self.clone(),
            tenant: tenant.clone(),
        })
    }
}

impl Slots {
    /// Waits for the tenant's turn: what is done during it is done before or after what others do during theirs. A few
    /// tenants share one.
    pub async fn turn(&self, tenant: &TenantId) -> tokio::sync::OwnedMutexGuard<()> {
        let mut hasher = DefaultHasher::new();
        tenant.hash(&mut hasher);
        let place = usize::try_from(hasher.finish() % TURNS).unwrap_or(0);
        Arc::clone(&self.turns[place]).lock_owned().await
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut taken = self
            .slots
            .taken
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.tenant) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.tenant);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_tenant_leaves_places_for_others_and_gives_its_own_back() {
        let slots = Slots::default();
        let tenant = |n: usize| TenantId::parse(&format!("t{n}")).unwrap();
        let own: Vec<_> = (0..20).filter_map(|_| slots.take(&tenant(0))).collect();
        assert_eq!(own.len(), TENANT_MAX);
        let others: Vec<_> = (1..100).filter_map(|n| slots.take(&tenant(n))).collect();
        assert_eq!(own.len() + others.len(), ALL_MAX);
        drop(own);
        assert!(slots.take(&tenant(0)).is_some());
    }
}
