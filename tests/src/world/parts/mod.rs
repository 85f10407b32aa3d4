//! What a world is made of. What happens to each part is in the file of the same name above, as methods of
//! [`World`](super::World): parts know nothing of the world that they are in.

pub(super) mod desk;
pub(super) mod links;
pub(super) mod machine;
pub(super) mod meter;
pub(super) mod observation;
pub(super) mod plan;
pub(super) mod process;
pub(super) mod said;
pub(super) mod store;
pub(super) mod stranger;
pub(super) mod tcp;
pub(super) mod udp;
