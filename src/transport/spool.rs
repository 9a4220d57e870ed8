//! Stub.
use super::{DeadJob, Delivery, Reason, State, Verdict};
use crate::event::Event;
use crate::problem::Outage;
#[derive(Debug)]
pub struct Handle;
impl Handle {
    pub async fn publish(&self, _: &Event) -> Result<(), Outage> {
        todo!()
    }
    pub async fn bury(&self, _: &[u8], _: &Reason) -> Result<(), Outage> {
        todo!()
    }
    pub async fn ack(self) -> Result<(), Outage> {
        todo!()
    }
    pub async fn retry(&self, _: u32) -> Result<(), Outage> {
        todo!()
    }
    pub async fn release(self) {
        todo!()
    }
}
#[derive(Debug)]
pub struct Intake;
impl Intake {
    pub async fn open(_: &std::path::Path, _: u16) -> Result<Intake, Outage> {
        todo!()
    }
    pub async fn next(&mut self) -> Result<Option<Delivery>, Outage> {
        todo!()
    }
    pub async fn pending(&self) -> Result<u64, Outage> {
        todo!()
    }
    pub fn state(&self) -> tokio::sync::watch::Receiver<State> {
        todo!()
    }
    pub async fn stop(&mut self) {
        todo!()
    }
    pub async fn close(self) {
        todo!()
    }
}
#[derive(Debug)]
pub struct Client;
impl Client {
    pub async fn open(_: &std::path::Path) -> Result<Client, Outage> {
        todo!()
    }
    pub async fn send(&mut self, _: &str, _: &[u8]) -> Result<(), Outage> {
        todo!()
    }
    pub async fn walk_dead(&mut self, _: impl FnMut(&DeadJob) -> Verdict) -> Result<(), Outage> {
        todo!()
    }
}
