//! What a typesetter gives up before its first report: files, network, programs, other
//! processes, and memory without end.
//!
//! A report is data, and a template finds nothing but the tree ([`crate::typesetter`]); so none of
//! this is ever missed. It is for the day when a fault in the engine can be made to do what nobody
//! wrote: whoever has taken a typesetter over can then compute and answer the worker, and no more.
//!
//! Two walls, and each would do alone: Landlock ([`files`]) and a filter of system calls
//! ([`calls`]). What is behind neither is what a process has already, so a typesetter maps its
//! faces and reads its templates first. The samples are set after, behind both, so that a wall too
//! high is found at start.

#[cfg(not(target_os = "linux"))]
pub use elsewhere::{calls, files, limits};
#[cfg(target_os = "linux")]
pub use linux::{calls, files, limits};

#[cfg(target_os = "linux")]
mod linux {
    use std::collections::BTreeMap;
    use std::io;

    use landlock::{
        ABI, Access, AccessFs, AccessNet, LandlockStatus, RestrictionStatus, Ruleset, RulesetAttr,
        RulesetError, RulesetStatus, Scope,
    };
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    use seccompiler::{
        BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
        SeccompFilter, SeccompRule,
    };

    /// The newest Landlock that is known here. An older kernel's knows less, and keeps what it
    /// knows.
    const NEWEST: ABI = ABI::V10;

    /// The calls of a warm typesetter, whatever their arguments: its memory, its threads that wait
    /// for each other, how it ends, and what Rust and the C library may do along the way. None
    /// opens, connects, starts or reaches anything.
    const CALLS: [libc::c_long; 26] = [
        libc::SYS_brk,
        libc::SYS_clock_getres,
        libc::SYS_clock_gettime,
        libc::SYS_clock_nanosleep,
        libc::SYS_close,
        libc::SYS_exit,
        libc::SYS_exit_group,
        libc::SYS_futex,
        libc::SYS_getpid,
        libc::SYS_getrandom,
        libc::SYS_gettid,
        libc::SYS_gettimeofday,
        libc::SYS_madvise,
        libc::SYS_membarrier,
        libc::SYS_mremap,
        libc::SYS_munmap,
        libc::SYS_nanosleep,
        libc::SYS_restart_syscall,
        libc::SYS_rseq,
        libc::SYS_rt_sigprocmask,
        libc::SYS_rt_sigreturn,
        libc::SYS_sched_getaffinity,
        libc::SYS_sched_yield,
        libc::SYS_set_robust_list,
        libc::SYS_sigaltstack,
        libc::SYS_uname,
    ];

    /// Landlock: no file, no TCP or UDP port, no signal or abstract socket of another process, for
    /// this thread and those that it starts from here on.
    ///
    /// # Errors
    /// Why the kernel doesn't do it.
    pub fn files() -> Result<(), String> {
        let restrict = || -> Result<RestrictionStatus, RulesetError> {
            Ruleset::default()
                .handle_access(AccessFs::from_all(NEWEST))?
                .handle_access(AccessNet::from_all(NEWEST))?
                .scope(Scope::from_all(NEWEST))?
                .create()?
                .restrict_self()
        };
        match restrict() {
            Ok(status) if status.ruleset != RulesetStatus::NotEnforced => Ok(()),
            Ok(status) => Err(match status.landlock {
                LandlockStatus::NotEnabled => "Landlock (it is not enabled in this kernel)",
                _ => "Landlock (the kernel, or what this process runs in, has none)",
            }
            .to_owned()),
            Err(error) => Err(format!("Landlock ({error})")),
        }
    }

    /// A filter of system calls, for every thread of this process: those that a warm typesetter
    /// makes, with these arguments; any other is refused with `EPERM`. Refused and not killed,
    /// because the C library asks for a thing or two that it can do without.
    ///
    /// # Errors
    /// Why the kernel doesn't do it.
    pub fn calls() -> Result<(), String> {
        let filter = filter().map_err(|error| format!("seccomp ({error})"))?;
        seccompiler::apply_filter_all_threads(&filter).map_err(|error| match error {
            seccompiler::Error::Prctl(error) | seccompiler::Error::Seccomp(error) => {
                format!("seccomp ({error})")
            }
            other => format!("seccomp ({other})"),
        })
    }

    /// Memory of its own up to so many bytes, no new file descriptor, and no core dump, which would
    /// hold a report's text.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn limits(memory: u64) -> io::Result<()> {
        lower(Resource::Data, memory)?;
        lower(Resource::Nofile, 0)?;
        lower(Resource::Core, 0)
    }

    /// Lowers a limit, for good.
    fn lower(resource: Resource, to: u64) -> io::Result<()> {
        let now = getrlimit(resource).maximum;
        let to = Some(now.map_or(to, |now| now.min(to)));
        let limit = Rlimit {
            current: to,
            maximum: to,
        };
        Ok(setrlimit(resource, limit)?)
    }

    fn filter() -> Result<BpfProgram, BackendError> {
        let own = u64::from(std::process::id());
        let mut rules = CALLS
            .into_iter()
            .map(|call| (call, Vec::new()))
            .collect::<BTreeMap<_, _>>();
        // The pipe to the worker, and standard error.
        rules.insert(libc::SYS_read, any(0, [0])?);
        rules.insert(libc::SYS_write, any(0, [1, 2])?);
        rules.insert(libc::SYS_writev, any(0, [1, 2])?);
        // Memory of its own, that is never code.
        let private = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS).cast_unsigned();
        let kind = (libc::MAP_TYPE | libc::MAP_ANONYMOUS).cast_unsigned();
        let map = vec![no_code()?, masked(3, kind, private)?];
        rules.insert(libc::SYS_mmap, vec![SeccompRule::new(map)?]);
        rules.insert(
            libc::SYS_mprotect,
            vec![SeccompRule::new(vec![no_code()?])?],
        );
        // How Rust ends a process that has overflowed its stack or found no memory.
        let deadly = [libc::SIGSEGV, libc::SIGBUS, libc::SIGABRT];
        let deadly = deadly.map(|signal| u64::from(signal.cast_unsigned()));
        rules.insert(libc::SYS_rt_sigaction, any(0, deadly)?);
        rules.insert(libc::SYS_tgkill, any(0, [own])?);
        SeccompFilter::new(
            rules,
            SeccompAction::Errno(libc::EPERM.cast_unsigned()),
            SeccompAction::Allow,
            std::env::consts::ARCH.try_into()?,
        )?
        .try_into()
    }

    /// The argument of this number is one of the values.
    fn any<const N: usize>(
        argument: u8,
        values: [u64; N],
    ) -> Result<Vec<SeccompRule>, BackendError> {
        let is = |value| {
            let length = SeccompCmpArgLen::Dword;
            let is = SeccompCondition::new(argument, length, SeccompCmpOp::Eq, value)?;
            SeccompRule::new(vec![is])
        };
        values.into_iter().map(is).collect()
    }

    /// The bits of an argument under the mask are these.
    fn masked(argument: u8, mask: u32, bits: u32) -> Result<SeccompCondition, BackendError> {
        let is = SeccompCmpOp::MaskedEq(mask.into());
        SeccompCondition::new(argument, SeccompCmpArgLen::Dword, is, bits.into())
    }

    /// The third argument doesn't ask for memory that can be run.
    fn no_code() -> Result<SeccompCondition, BackendError> {
        masked(2, libc::PROT_EXEC.cast_unsigned(), 0)
    }
}

#[cfg(not(target_os = "linux"))]
mod elsewhere {
    use std::io;

    /// Nothing: there is no Landlock.
    ///
    /// # Errors
    /// Always.
    pub fn files() -> Result<(), String> {
        Err("Landlock (only Linux has it)".to_owned())
    }

    /// Nothing: there is no seccomp.
    ///
    /// # Errors
    /// Always.
    pub fn calls() -> Result<(), String> {
        Err("seccomp (only Linux has it)".to_owned())
    }

    /// Nothing: no other kernel holds a process to its memory.
    ///
    /// # Errors
    /// Always.
    pub fn limits(_: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
