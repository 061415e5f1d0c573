//! The driver against moto, a server by others that checks real signatures and permissions.
//!
//! It proves signing, encoding and decoding by someone else's parser: launch, describe, list, verify,
//! terminate, leftovers; and that a wrong secret is refused as such. moto knows no client tokens, no
//! capacity and no spot requests of RunInstances; those are proved elsewhere. It checks the signature of
//! a form that it has encoded again, with `+` for a space, so no value here holds one. It is installed from PyPI
//! into the target folder; only where that is impossible the test is skipped, aloud.

use fleet_provider::{Boot, Candidate, LaunchRequest, OwnerTag, Provider, Termination};
use fleet_provider_aws::{AwsConfig, AwsProvider, connect};
use fleet_types::{
    Endpoint, Epoch, Fault, FleetId, InstanceState, JobId, Market, OfferQuery, Place, PlacePattern,
    Timestamp, Token, Usd,
};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const FLEET: &str = "00112233445566778899aabbccddeeff";
const REGION: &str = "us-east-1";
/// Variables that point TLS of children elsewhere, or credentials to a real account.
const UNCLEAN: [&str; 8] = [
    "AWS_CA_BUNDLE",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_FILE",
    "CURL_CA_BUNDLE",
    "AWS_PROFILE",
    "AWS_ENDPOINT_URL",
    "AWS_SESSION_TOKEN",
    "AWS_CONFIG_FILE",
];

/// A folder of this build, for things that outlive one run.
fn target() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).to_path_buf()
}

/// moto's folder of programs; made when missing. `Err` says why it cannot be.
fn installed() -> Result<PathBuf, String> {
    let venv = target().join("moto-venv");
    let done = venv.join(".complete");
    if !done.exists() {
        let run = |program: &Path, arguments: &[&str]| -> Result<(), String> {
            let out = Command::new(program).args(arguments).output().map_err(|e| e.to_string())?;
            let said = String::from_utf8_lossy(&out.stderr);
            out.status
                .success()
                .then_some(())
                .ok_or_else(|| format!("{} {arguments:?}: {}", program.display(), said.trim()))
        };
        run(Path::new("python3"), &["-m", "venv", &venv.display().to_string()])?;
        let wanted =
            ["-m", "pip", "install", "-q", "moto[server,ec2,s3,ssm,sts,pricing]==5.*", "boto3"];
        run(&venv.join("bin/python"), &wanted)?;
        std::fs::write(&done, "").map_err(|e| e.to_string())?;
    }
    Ok(venv.join("bin"))
}

/// A running moto; its process ends with this value.
struct Moto {
    child: Child,
    url: String,
    key: String,
    secret: String,
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Moto {
    /// Starts it with signature checks after the three calls that make a user.
    fn start(bin: &Path) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = Command::new(bin.join("moto_server"));
        UNCLEAN.iter().for_each(|name| {
            command.env_remove(name);
        });
        let child = command
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .env("INITIAL_NO_AUTH_ACTION_COUNT", "3")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut moto = Self {
            child,
            url: format!("http://127.0.0.1:{port}"),
            key: String::new(),
            secret: String::new(),
        };
        let mut said = BufReader::new(moto.child.stderr.take().unwrap()).lines();
        assert!(
            said.by_ref().any(|line| line.unwrap().contains("Running on")),
            "moto ended at its start"
        );
        // What it says from now on is read and dropped, so that it never waits for a reader.
        std::thread::spawn(move || said.for_each(drop));
        let made = moto.python(bin, include_str!("moto_user.py"));
        let (key, secret) = made.trim().split_once(' ').unwrap();
        (moto.key, moto.secret) = (key.to_owned(), secret.to_owned());
        moto
    }

    /// Runs a script with boto3 pointed at this server.
    fn python(&self, bin: &Path, script: &str) -> String {
        let mut command = Command::new(bin.join("python"));
        UNCLEAN.iter().for_each(|name| {
            command.env_remove(name);
        });
        let mut child = command
            .args(["-", &self.url])
            .env("AWS_ACCESS_KEY_ID", if self.key.is_empty() { "none" } else { &self.key })
            .env(
                "AWS_SECRET_ACCESS_KEY",
                if self.secret.is_empty() { "none" } else { &self.secret },
            )
            .env("AWS_DEFAULT_REGION", REGION)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
        let out = child.wait_with_output().unwrap();
        assert!(out.status.success(), "{out:?}");
        String::from_utf8(out.stdout).unwrap()
    }

    async fn provider(&self, secret: &str) -> AwsProvider {
        let environment = [
            ("AWS_ACCESS_KEY_ID", self.key.as_str()),
            ("AWS_SECRET_ACCESS_KEY", secret),
            ("AWS_REGION", REGION),
        ];
        connect(AwsConfig {
            endpoint: Endpoint { api: Some(self.url.clone()), ..Endpoint::default() },
            environment: environment.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect(),
            ..AwsConfig::default()
        })
        .await
        .unwrap()
    }
}

fn owner() -> OwnerTag {
    OwnerTag { fleet: FleetId::new(FLEET) }
}

async fn request(provider: &AwsProvider) -> LaunchRequest {
    let query = OfferQuery {
        instance_type: Some("g4dn.xlarge".into()),
        places: vec![PlacePattern::parse(&format!("aws/{REGION}")).unwrap()],
        ..OfferQuery::default()
    };
    let offers = provider.offers(&query).await.unwrap();
    let offer =
        offers.into_iter().find(|o| o.market == Market::Spot && o.price_usd_per_hour.is_some());
    let offer = offer.expect("moto's catalogue has g4dn.xlarge at a spot price");
    assert_eq!(offer.accelerator.as_ref().map(ToString::to_string).as_deref(), Some("T4:1"));
    let login_key =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ4sAr0hZ3LwsDnv3AdYzIuGQJ2Sx7Gcq6CUdVv1oZhn me";
    LaunchRequest {
        token: Token::new("ffeeddccbbaa99887766554433221100"),
        owner: owner(),
        job: JobId::new("j-0123456789ab"),
        epoch: Epoch(1),
        node: 0,
        market: Market::Spot,
        candidates: vec![Candidate { offer, limit_usd_per_hour: Usd::from_dollars(1.0).unwrap() }],
        expires_at: Timestamp::from_millis(1_995_000_000_000),
        boot: Boot {
            login_key: login_key.into(),
            host_key: "-----\n-----\n".to_owned().into(),
            orphan_minutes: 15,
        },
        image: None,
        disk_gib: 64,
        labels: [("team".to_owned(), "vision&co=100%+ü".to_owned())].into(),
        ports: vec![8080],
        admit_from: Some("203.0.113.7/32".into()),
    }
}

#[tokio::test]
async fn moto_accepts_every_signature_and_reads_every_field() {
    let bin = match installed() {
        Ok(bin) => bin,
        Err(why) => {
            eprintln!("SKIPPED: moto cannot be installed here: {why}");
            return;
        }
    };
    let moto = Moto::start(&bin);
    let provider = moto.provider(&moto.secret).await;

    let forged = moto.provider("another secret altogether").await;
    let refused = forged.list(&owner()).await.unwrap_err();
    assert_eq!(refused.fault, Fault::Auth, "{refused}");

    let who = provider.verify().await.unwrap();
    assert_eq!(who.account, "123456789012");
    assert!(who.principal.ends_with("user/fleet"), "{who:?}");

    let mut request = request(&provider).await;
    request.image = Some(moto.python(&bin, include_str!("moto_image.py")).trim().to_owned());
    let made = provider.launch(&request).await.unwrap();
    assert_eq!((made.market, made.token.as_ref()), (Market::Spot, Some(&request.token)));
    assert_eq!(made.place, request.candidates[0].offer.place);

    let found = provider.describe(&made.id, &made.place).await.unwrap();
    assert_eq!(
        (&found.state, found.expires_at),
        (&InstanceState::Running, Some(request.expires_at))
    );
    assert!(found.address.is_some() && found.launched_at.is_some());
    let listing = provider.list(&owner()).await.unwrap();
    assert!(listing.complete, "{:?}", listing.gaps);
    assert_eq!(listing.instances.iter().map(|i| &i.id).collect::<Vec<_>>(), [&made.id]);
    let stranger = OwnerTag { fleet: FleetId::new("f".repeat(32)) };
    assert!(provider.list(&stranger).await.unwrap().instances.is_empty());

    moves_the_door_and_cleans_up(&provider, &made.id, &made.place).await;
}

/// Admits another address, ends the machine, and removes what was made with it.
async fn moves_the_door_and_cleans_up(
    provider: &AwsProvider,
    id: &fleet_types::InstanceId,
    place: &Place,
) {
    let auxiliary = provider.auxiliary().unwrap();
    auxiliary.admit(&owner(), "192.0.2.9/32").await.unwrap();
    provider.terminate(id, place).await.unwrap();
    let ended = provider.describe(id, place).await.unwrap();
    assert!(ended.state.is_gone() && ended.ended_at.is_some(), "{ended:?}");
    // A second terminate is proved elsewhere: moto looks for the network interface that it removed itself.
    let missing = fleet_types::InstanceId::new("i-00000000000000000");
    assert_eq!(provider.terminate(&missing, place).await.unwrap(), Termination::NotFound);
    let found = auxiliary.leftovers(&owner()).await.unwrap();
    let mut kinds: Vec<_> = found.iter().map(|l| l.kind.as_str()).collect();
    kinds.sort_unstable();
    assert_eq!(kinds, ["key-pair", "security-group"]);
    for leftover in &found {
        auxiliary.remove(leftover).await.unwrap();
        auxiliary.remove(leftover).await.unwrap();
    }
    assert!(auxiliary.leftovers(&owner()).await.unwrap().is_empty());
}
