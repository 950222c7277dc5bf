// SPDX-License-Identifier: MPL-2.0

package lkl

// layouts are the structures of TestHeaders_KernelAndLibcHaveTheSameLayouts.
var layouts = []layout{
	// System V and POSIX queues, semaphores and shared memory.
	{
		"asm/ipcbuf", "struct ipc64_perm", "sys/ipc", "struct ipc_perm", equalSize,
		"key=__ipc_perm_key uid gid cuid cgid mode @seq=__ipc_perm_seq",
	},
	{"asm/sembuf", "struct semid64_ds", "sys/sem", "struct semid_ds", equalSize, "sem_perm sem_otime sem_ctime @sem_nsems"},
	{"linux/sem", "struct sembuf", "sys/sem", "", equalSize, "sem_num sem_op sem_flg"},
	{"linux/sem", "struct seminfo", "sys/sem", "", equalSize, "semmap semmni semmns semmnu semmsl semopm semume semusz semvmx semaem"},
	{
		"asm/msgbuf", "struct msqid64_ds", "sys/msg", "struct msqid_ds", equalSize,
		"msg_perm msg_stime msg_rtime msg_ctime msg_cbytes msg_qnum msg_qbytes msg_lspid msg_lrpid",
	},
	{"linux/msg", "struct msginfo", "sys/msg", "", equalSize, "msgpool msgmap msgmax msgmnb msgmni msgssz msgtql msgseg"},
	{
		"asm/shmbuf", "struct shmid64_ds", "sys/shm", "struct shmid_ds", equalSize,
		"shm_perm shm_segsz shm_atime shm_dtime shm_ctime shm_cpid shm_lpid shm_nattch",
	},
	{"asm/shmbuf", "struct shminfo64", "sys/shm", "struct shminfo", equalSize, "shmmax shmmin shmmni shmseg shmall"},
	{"linux/shm", "struct shm_info", "sys/shm", "", equalSize, "used_ids=__used_ids shm_tot shm_rss shm_swp"},
	{"linux/mqueue", "struct mq_attr", "mqueue", "", equalSize, "mq_flags mq_maxmsg mq_msgsize mq_curmsgs"},

	// Files.
	{
		"asm/stat", "struct stat", "sys/stat", "", equalSize,
		"st_dev st_ino st_nlink st_mode st_uid st_gid st_rdev st_size st_blksize st_blocks " +
			"st_atime st_atime_nsec=st_atim.tv_nsec st_mtime st_mtime_nsec=st_mtim.tv_nsec st_ctime st_ctime_nsec=st_ctim.tv_nsec",
	},
	{
		"linux/stat", "struct statx", "sys/stat", "", equalSize,
		"stx_mask stx_blksize stx_attributes stx_nlink stx_uid stx_gid stx_mode stx_ino stx_size stx_blocks stx_attributes_mask " +
			"stx_atime stx_btime stx_ctime stx_mtime stx_rdev_major stx_rdev_minor stx_dev_major stx_dev_minor",
	},
	{
		"asm/statfs", "struct statfs", "sys/statfs", "", equalSize,
		"f_type f_bsize f_blocks f_bfree f_bavail f_files f_ffree f_fsid f_namelen f_frsize f_flags",
	},
	{"linux/fcntl", "struct flock", "fcntl", "", equalSize, "l_type l_whence l_start l_len l_pid"},
	{"linux/fcntl", "struct f_owner_ex", "fcntl", "", equalSize, "type pid"},
	{"linux/uio", "struct iovec", "sys/uio", "", equalSize, "iov_base iov_len"},
	{"linux/inotify", "struct inotify_event", "sys/inotify", "", equalSize, "wd mask cookie len @name"},
	{
		"linux/fanotify", "struct fanotify_event_metadata", "sys/fanotify", "", equalSize,
		"event_len vers reserved metadata_len mask fd pid",
	},
	{
		"linux/quota", "struct if_dqblk", "sys/quota", "struct dqblk", equalSize,
		"dqb_bhardlimit dqb_bsoftlimit dqb_curspace dqb_ihardlimit dqb_isoftlimit dqb_curinodes dqb_btime dqb_itime dqb_valid",
	},
	{"linux/utime", "struct utimbuf", "utime", "", equalSize, "actime modtime"},

	// Terminals and polling.
	{"asm/termbits", "struct termios", "termios", "", libcLarger, "c_iflag c_oflag c_cflag c_lflag c_line @c_cc"},
	{"asm/termios", "struct winsize", "sys/ioctl", "", equalSize, "ws_row ws_col ws_xpixel ws_ypixel"},
	{"linux/poll", "struct pollfd", "poll", "", equalSize, "fd events revents"},
	{"linux/eventpoll", "struct epoll_event", "sys/epoll", "", equalSize, "events data"},

	// Signals.
	{
		"asm/siginfo", "siginfo_t", "signal", "", equalSize,
		"si_signo si_errno si_code si_pid si_uid si_value si_tid=si_timerid si_overrun si_status si_utime si_stime " +
			"si_addr si_addr_lsb si_lower si_upper si_pkey si_band si_fd si_call_addr si_syscall si_arch",
	},
	{
		"asm/siginfo", "struct sigevent", "signal", "", equalSize,
		"sigev_value sigev_signo sigev_notify sigev_notify_function sigev_notify_attributes sigev_notify_thread_id",
	},
	{"asm/signal", "stack_t", "signal", "", equalSize, "ss_sp ss_flags ss_size"},
	{
		"asm/signal asm/sigcontext asm/ucontext", "struct ucontext", "ucontext", "ucontext_t", libcLarger,
		"uc_flags uc_link uc_stack uc_mcontext @uc_sigmask uc_mcontext.r8=uc_mcontext.gregs[REG_R8] " +
			"uc_mcontext.r15=uc_mcontext.gregs[REG_R15] uc_mcontext.di=uc_mcontext.gregs[REG_RDI] " +
			"uc_mcontext.bp=uc_mcontext.gregs[REG_RBP] uc_mcontext.sp=uc_mcontext.gregs[REG_RSP] " +
			"uc_mcontext.ip=uc_mcontext.gregs[REG_RIP] uc_mcontext.flags=uc_mcontext.gregs[REG_EFL] " +
			"uc_mcontext.err=uc_mcontext.gregs[REG_ERR] uc_mcontext.cr2=uc_mcontext.gregs[REG_CR2] " +
			"uc_mcontext.fpstate=uc_mcontext.fpregs",
	},
	{
		"linux/signalfd", "struct signalfd_siginfo", "sys/signalfd", "", equalSize,
		"ssi_signo ssi_errno ssi_code ssi_pid ssi_uid ssi_fd ssi_tid ssi_band ssi_overrun ssi_trapno ssi_status ssi_int " +
			"ssi_ptr ssi_utime ssi_stime ssi_addr",
	},

	// Time.
	{"linux/time", "struct timespec", "time", "", equalSize, "tv_sec tv_nsec"},
	{"linux/time", "struct timeval", "sys/time", "", equalSize, "tv_sec tv_usec"},
	{"linux/time", "struct itimerspec", "time", "", equalSize, "it_interval it_value"},
	{"linux/time", "struct itimerval", "sys/time", "", equalSize, "it_interval it_value"},
	{"linux/times", "struct tms", "sys/times", "", equalSize, "tms_utime tms_stime tms_cutime tms_cstime"},
	{
		"linux/timex", "struct __kernel_timex", "sys/timex", "struct timex", equalSize,
		"modes offset freq maxerror esterror status constant precision tolerance time tick ppsfreq jitter shift stabil jitcnt " +
			"calcnt errcnt stbcnt tai",
	},

	// The process and the system.
	{
		"linux/resource", "struct rusage", "sys/resource", "", libcLarger,
		"ru_utime ru_stime ru_maxrss ru_ixrss ru_idrss ru_isrss ru_minflt ru_majflt ru_nswap ru_inblock ru_oublock ru_msgsnd " +
			"ru_msgrcv ru_nsignals ru_nvcsw ru_nivcsw",
	},
	{"linux/resource", "struct rlimit64", "sys/resource", "struct rlimit", equalSize, "rlim_cur rlim_max"},
	{
		"linux/sysinfo", "struct sysinfo", "sys/sysinfo", "", libcLarger,
		"uptime loads totalram freeram sharedram bufferram totalswap freeswap procs totalhigh freehigh mem_unit",
	},
	{"linux/utsname", "struct new_utsname", "sys/utsname", "struct utsname", equalSize, "sysname nodename release version machine domainname"},

	// Sockets.
	{"linux/socket", "struct __kernel_sockaddr_storage", "sys/socket", "struct sockaddr_storage", equalSize, "ss_family"},
	{"linux/in", "struct sockaddr_in", "netinet/in", "", equalSize, "sin_family sin_port sin_addr"},
	{"linux/in6", "struct sockaddr_in6", "netinet/in", "", equalSize, "sin6_family sin6_port sin6_flowinfo sin6_addr sin6_scope_id"},
	{"linux/un", "struct sockaddr_un", "sys/un", "", equalSize, "sun_family sun_path"},
	{
		"linux/if_packet", "struct sockaddr_ll", "netpacket/packet", "", equalSize,
		"sll_family sll_protocol sll_ifindex sll_hatype sll_pkttype sll_halen sll_addr",
	},
	{"linux/if_packet", "struct packet_mreq", "netpacket/packet", "", equalSize, "mr_ifindex mr_type mr_alen mr_address"},
	{"linux/in", "struct ip_mreq", "netinet/in", "", equalSize, "imr_multiaddr imr_interface"},
	{"linux/in", "struct ip_mreqn", "netinet/in", "", equalSize, "imr_multiaddr imr_address imr_ifindex"},
	{"linux/in", "struct ip_mreq_source", "netinet/in", "", equalSize, "imr_multiaddr imr_interface imr_sourceaddr"},
	{"linux/in", "struct group_req", "netinet/in", "", equalSize, "gr_interface gr_group"},
	{"linux/in", "struct group_source_req", "netinet/in", "", equalSize, "gsr_interface gsr_group gsr_source"},
	{"linux/in", "struct in_pktinfo", "netinet/in", "", equalSize, "ipi_ifindex ipi_spec_dst ipi_addr"},
	{"linux/in6", "struct ipv6_mreq", "netinet/in", "", equalSize, "ipv6mr_multiaddr @ipv6mr_ifindex=ipv6mr_interface"},
	{"linux/if", "struct ifreq", "net/if", "", equalSize, "ifr_name ifr_addr ifr_flags ifr_ifindex ifr_mtu ifr_hwaddr ifr_data"},
	{"linux/if", "struct ifconf", "net/if", "", equalSize, "ifc_len ifc_buf ifc_req"},
	{"linux/if_arp", "struct arpreq", "net/if_arp", "", equalSize, "arp_pa arp_ha arp_flags arp_netmask arp_dev"},
	{
		"linux/route", "struct rtentry", "net/route", "", equalSize,
		"rt_dst rt_gateway rt_genmask rt_flags rt_metric rt_dev @rt_mtu rt_window rt_irtt",
	},
	{
		"linux/tcp", "struct tcp_info", "netinet/tcp", "", anySize,
		"tcpi_state tcpi_ca_state tcpi_retransmits tcpi_probes tcpi_backoff tcpi_options tcpi_rto tcpi_ato tcpi_snd_mss " +
			"tcpi_rcv_mss tcpi_unacked tcpi_rtt tcpi_rttvar tcpi_snd_cwnd tcpi_total_retrans tcpi_pacing_rate tcpi_bytes_acked " +
			"tcpi_segs_out tcpi_notsent_bytes tcpi_min_rtt tcpi_delivery_rate tcpi_busy_time tcpi_delivered",
	},
}
