//! Who signs, where anything is signed. Nothing is signed to find out.

use super::Report;
use crate::commands::Error;
use crate::config;
use crate::problem::Outage;
use crate::sign::Signer;

pub(super) async fn signer(report: &mut Report, settings: &config::Sign) -> Result<(), Error> {
    const CHECK: &str = "signer";
    let found: Result<_, Outage> = async {
        match Signer::open(settings)? {
            None => Ok(None),
            Some(signer) => Ok(Some(signer.is_there().await?)),
        }
    }
    .await;
    match found {
        Ok(None) => Ok(()),
        Ok(Some(_)) if settings.url.starts_with("http://") && settings.token().is_some() => report
            .warn(
                CHECK,
                "sign.token_file is shown to an http:// address: whoever is on the way reads it; \
                 give an https:// one in sign.url",
                "sign.token_file 中的口令将经 http:// 明文传送：请在 sign.url 中改用 https://",
            ),
        Ok(Some(there)) => report.ok(CHECK, format!("{there}; nothing was signed to find out")),
        Err(outage) => report.out(
            CHECK,
            &outage,
            "签名系统不可用：请检查 sign.command 或 sign.url 以及 [sign] 中的文件",
        ),
    }
}
