//! How a forward pass is listened to and written into.

use candle_core::Tensor;
use engram_core::Site;
use indexmap::IndexMap;

use crate::error::Result;

/// Sees the value at each site as the forward pass reaches it, and may replace it.
pub trait Tap {
    /// Whether the value at this site is asked for. Sites that a plain forward pass never makes
    /// (`head_out`, `pattern`, scales) are computed only where this says so.
    fn wants(&self, site: Site, layer: Option<usize>) -> bool;

    /// The value at a site, batch first; what is returned goes on through the network. Called only
    /// where [`Tap::wants`] said so.
    ///
    /// # Errors
    /// Whatever stops the run.
    fn at(&mut self, site: Site, layer: Option<usize>, value: Tensor) -> Result<Tensor>;
}

/// Listens to nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoTap;

impl Tap for NoTap {
    fn wants(&self, _: Site, _: Option<usize>) -> bool {
        false
    }

    fn at(&mut self, _: Site, _: Option<usize>, value: Tensor) -> Result<Tensor> {
        Ok(value)
    }
}

/// Keeps the values at chosen sites: a run's cache.
#[derive(Debug, Default)]
pub struct Capture {
    /// The values, in the order in which they were reached after [`Capture::of`] named them.
    pub values: IndexMap<(Site, Option<usize>), Option<Tensor>>,
}

impl Capture {
    /// Will keep these sites.
    pub fn of(sites: impl IntoIterator<Item = (Site, Option<usize>)>) -> Capture {
        Capture {
            values: sites.into_iter().map(|key| (key, None)).collect(),
        }
    }

    /// The value at a site, once a run went by.
    pub fn get(&self, site: Site, layer: Option<usize>) -> Option<&Tensor> {
        self.values.get(&(site, layer)).and_then(|v| v.as_ref())
    }
}

impl Tap for Capture {
    fn wants(&self, site: Site, layer: Option<usize>) -> bool {
        self.values.contains_key(&(site, layer))
    }

    fn at(&mut self, site: Site, layer: Option<usize>, value: Tensor) -> Result<Tensor> {
        if let Some(slot) = self.values.get_mut(&(site, layer)) {
            *slot = Some(value.clone());
        }
        Ok(value)
    }
}
