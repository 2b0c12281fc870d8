/**
 * Every bound of syncline in one place: name, unit, and why it is what it is.
 *
 * @module
 */

/** Bytes of one stream frame: secret-stream's 24-bit length less its 17 bytes of tag. */
export const FRAME_BYTES_MAX: number = 0xffffff - 17
/** Bytes of one block that can be replicated; leaves room in a frame for the proof around it. */
export const BLOCK_BYTES_MAX: number = 15 * 1024 * 1024
/** Nodes in one list of a proof: twice the deepest tree of 2^53 bytes, so no honest proof is refused. */
export const PROOF_NODES_MAX = 256
/** Signers of one manifest: more cannot be signed for in one data message of sane size. */
export const SIGNERS_MAX = 256
/** Feeds that one manifest links: each is a key of 32 bytes that is kept as long as the feed is open. */
export const LINKED_FEEDS_MAX = 1024
/** Bytes of the user data of one manifest: with a block of BLOCK_BYTES_MAX and a proof, all of a manifest fits a frame. */
export const MANIFEST_USER_DATA_BYTES_MAX: number = 64 * 1024
/** Bytes of one extension message: anything larger belongs into a feed. */
export const EXTENSION_BYTES_MAX: number = 1024 * 1024
/** Characters up to which the name of an extension is remembered for its next message although nobody registered it. */
export const EXTENSION_NAME_CHARS_MAX = 256
/** Length of a feed: keeps flat tree indexes exact in a double. */
export const FEED_LENGTH_MAX: number = 2 ** 50

/** Blocks of one chunk: each costs about a millisecond of work whatever it holds, a quarter of the receiver's time at 1,024. */
export const CHUNK_BLOCKS_MAX = 4096
/** Bytes of one chunk by its authenticated size: what a liar can make us hold before it is found out. */
export const CHUNK_BYTES_MAX: number = 4 * 1024 * 1024
/** Bytes of a single block above which it uses a proof of its own instead of a chunk. */
export const SINGLE_BLOCK_BYTES: number = 1024 * 1024
/** Bytes of all open chunks together, over all feeds: bounds memory whatever the number of feeds. */
export const OPEN_CHUNK_BYTES_MAX: number = 64 * 1024 * 1024

/** Bytes of buffers that are kept for the next chunks, as many for the next frames, and as many for what is read to be sent. */
export const SPARE_BUFFER_BYTES_MAX: number = 16 * 1024 * 1024

/** Requests in flight on a new connection, shared by all feeds. */
export const WINDOW_REQUESTS_START = 1024
/** Requests in flight on a connection never fall below this: on a LAN more is slower, fewer starves. */
export const WINDOW_REQUESTS_MIN = 512
/** Requests in flight on a connection never fall below this where the remote reads whole runs: a third faster than 512. */
export const WINDOW_REQUESTS_RUNS = 8192
/** Requests in flight on a connection never exceed this: answers at 200 ms still fit 20,000 blocks/s. */
export const WINDOW_REQUESTS_MAX = 8192
/** Expected reply bytes in flight on a new connection: with 256 KiB, four blocks of 64 KiB leave a loopback idle (a third slower). */
export const WINDOW_BYTES_START: number = 1024 * 1024
/** Expected reply bytes in flight on a connection, at most. */
export const WINDOW_BYTES_MAX: number = 32 * 1024 * 1024
/**
 * Milliseconds of answers that are in flight however short the round trip: both ends have disks and chunks to hash. With
 * 40 a hypercore that serves blocks of 64 KiB takes a sixth more of its processor, with 200 no less.
 */
export const WINDOW_TURN_MS = 100
/** Expected reply bytes of a block whose size is unknown and whose feed gives no average. */
export const EXPECTED_BLOCK_BYTES = 1024
/** Expected reply bytes from which a block is asked for in a frame of its own. */
export const SINGLE_FRAME_BYTES: number = 16 * 1024
/** Expected reply bytes of one batch of requests: larger batches delay their first answer. */
export const BATCH_REPLY_BYTES_MAX: number = 64 * 1024
/** Requests of one batch: an auto-corking responder answers only when the whole batch is done. */
export const BATCH_REQUESTS_MAX = 256
/** Requests, and expected reply bytes, of one batch to a remote that reads whole runs and answers each as it reads it. */
export const RUN_BATCH_REQUESTS_MAX = 4096
export const RUN_BATCH_REPLY_BYTES_MAX: number = 512 * 1024
/** Bytes of one frame of answers. */
export const ANSWER_FRAME_BYTES_MAX: number = 128 * 1024

/** Bytes of small frames that are sent as one: what each of them costs hardly counts then. */
export const JOINED_FRAME_BYTES_MAX: number = 16 * 1024

/** Milliseconds a request may take before another peer is asked, while nothing of it arrives. */
export const REQUEST_TIMEOUT_MS = 10_000
/**
 * Milliseconds for which an update waits for a peer that does not say whether it has the feed, or what it has of it, and
 * for which one that speaks of no feed keeps its place when others want it.
 */
export const SILENT_PEER_MS = 10_000
/** Missed deadlines in a row, without any answer between, after which a peer is closed as too slow. */
export const REQUEST_TIMEOUTS_MAX = 3
/** Milliseconds between two looks at peers, rates and deadlines. */
export const TICK_MS = 250
/** Milliseconds between two keepalives. */
export const KEEPALIVE_MS = 5_000
/** Keepalives that may be missed before a connection is closed. */
export const KEEPALIVES_MISSED_MAX = 3
/** Milliseconds in which a write must make progress. */
export const WRITE_TIMEOUT_MS = 30_000
/** Messages that a connection's reader may hold for the loop before it pauses its stream. */
export const INBOX_MESSAGES_MAX = 4096
/** Bytes that a connection's reader may hold for the loop before it pauses its stream. */
export const INBOX_BYTES_MAX: number = 8 * 1024 * 1024
/**
 * Bytes of messages that wait in Protomux until their channels are open, 512 counted for each: a remote that opens 10,000
 * feeds at once and tells of each what it has comes to a quarter of it.
 */
export const PENDING_BYTES_MAX: number = 64 * 1024 * 1024
/** Messages that wait after which a peer is closed: one frame is taken whole, and honest ones hold far fewer. */
export const INBOX_BURST_MAX: number = 64 * INBOX_MESSAGES_MAX
/** Bytes that a connection's writer may hold before answers wait in the engine. */
export const OUTBOX_BYTES_MAX: number = 2 * 1024 * 1024
/** Bytes of announcements and refusals that a remote may leave unread; only one that never reads has so many. */
export const OUTBOX_CHATTER_BYTES_MAX: number = 64 * 1024 * 1024
/** Requests of one peer that may wait for their answer; more is refused without a reason. */
export const SERVE_QUEUE_MAX = 16_384
/** Blocks that are answered together, at most. */
export const SERVE_RUN_BLOCKS_MAX = 4096
/** Bytes that are answered together, by the average block of the feed; also those of one read. */
export const SERVE_RUN_BYTES_MAX: number = 512 * 1024
/** Refused (invalid) requests after which a peer is closed. */
export const INVALID_REQUESTS_MAX = 64
/** Wants that one peer may have for one feed before it counts as wanting everything. */
export const REMOTE_WANTS_MAX = 512
/** Ranges of one feed that a peer asked about and was not told of yet; with more, what is between them is told, too. */
export const UNTOLD_RANGES_MAX = 64
/** Bits of the largest want: the segment that every implementation uses. */
export const WANT_BITS_MAX = 2_097_152
/** Blocks before the end of a feed that are announced even without a want. */
export const ANNOUNCED_TAIL_BLOCKS = 256
/** Blocks up to which a remote's word about what it has is kept: 2^31 bits are 65,536 pages. */
export const REMOTE_HAVE_BLOCKS_MAX: number = 2 ** 31
/** Partly filled bitmap pages (4 KiB each) that one channel may make us keep: 32 MiB. */
export const REMOTE_HAVE_PAGES_MAX = 8192
/**
 * Whole bitmap pages that what one peer says it has may make us go through at once: twice those of the longest feed, some
 * ten milliseconds. A range of a few bytes is enough for 65,536 of them.
 */
export const REMOTE_HAVE_WORK_PAGES_MAX = 131_072
/** Pages by which that is less with each tick: a feed of 10^9 blocks may lose its first block every three seconds. */
export const REMOTE_HAVE_WORK_PAGES_PER_TICK = 2_560
/** Trusted nodes remembered per feed before they are read from the store again. */
export const TRUSTED_NODES_MAX = 8192
/** Chunks of one feed that may be open at a time. */
export const OPEN_CHUNKS_MAX = 64
/** Picks of requests in one step: bounds the time a step takes. */
export const PICKS_PER_STEP = 256
/** Serve effects of one peer that may be under way: one reads while one is sent. */
export const SERVES_UNDER_WAY_MAX = 4
/** Milliseconds after which a request has failed even if other bytes keep flowing. */
export const REQUEST_LIFE_MS_MAX = 60_000
/** Milliseconds below which no deadline falls, however fast a peer was. */
export const REQUEST_TIMEOUT_MS_MIN = 2_000
/** Milliseconds that a peer rests for a feed after an answer that it cannot serve now. */
export const NO_DATA_REST_MS = 500
/** Times that a remote gives no tree node, without a reason, after which it is not asked for that node again. */
export const NODE_REFUSALS_MAX = 3
/** Pairs of tree nodes that peers proved which are kept beside those that are stored, per feed: all of 16,384 blocks. */
export const LEARNT_PAIRS_MAX = 16_384
/** Requests for the head that a remote claims, without a proof of it, after which its word does not count. */
export const UNPROVEN_HEADS_MAX = 3
/** Milliseconds for which a claimed head counts that its remote says it cannot prove from our length. */
export const UNPROVABLE_HEAD_MS = 5_000
/** Milliseconds for which a remote that broke off over a proof is asked for none; grows fourfold each time. */
export const PROOF_REST_MS = 30_000
/** Milliseconds after which such a remote is asked again at the latest. */
export const PROOF_REST_MS_MAX: number = 60 * 60_000
/** Remotes remembered as unable to prove, per synchronizer. */
export const SUSPECTS_MAX = 4096
/** First requests (block 0 with the upgrade) of one feed that may be under way at a time. */
export const FIRST_REQUESTS_MAX = 3
/** Feeds that one connection may open. */
export const CHANNELS_MAX = 65_536

/** Feeds that are opened or made at a time: the first of thousands are complete before the last have their files. */
export const FEEDS_OPENING_MAX = 32

/** Milliseconds that a feed opened only to be served stays open after its last peer left. */
export const IDLE_FEED_MS = 10_000

/** Connections at a time, without those that we dial. */
export const CONNECTIONS_MAX = 64
/** Addresses remembered with their back-off. */
export const TRIED_ADDRESSES_MAX = 4096
/** Milliseconds before an address that failed once is tried again; doubles with each failure. */
export const RETRY_MS_START = 1_000
/** Milliseconds between tries of an address that keeps failing. */
export const RETRY_MS_MAX: number = 5 * 60_000
/** Milliseconds for a connection to be set up, handshake included. */
export const CONNECT_TIMEOUT_MS = 10_000
/** Milliseconds for a graceful close: queued answers and writes get this long. */
export const CLOSE_TIMEOUT_MS = 5_000

/** Files open at a time over all feeds: those of 1,000 busy feeds, while 10,000 stored ones must not need as many. */
export const OPEN_FILES_MAX = 4096
/** Milliseconds after which a lock file without a word was left by a process that was killed: writing one takes one. */
export const LOCK_LEFT_MS = 10_000
/** Blocks of one commit up to which all their nodes go into the log: larger ones are written densely, in one piece. */
export const LOGGED_BLOCKS_MAX = 16
/** Pages of tree nodes in memory over all feeds, 5 KiB each: those of 200,000 blocks that are read in no order. */
export const NODE_PAGES_MAX = 3200
/** Bytes of log entries after which the state of a feed is folded into its tree and bitfield files. */
export const LOG_BYTES_MAX: number = 64 * 1024

/**
 * Bytes and blocks of a copy up to which it stands in the journal with others. Its five files and their folders take 35 KiB
 * of disk and 0.5 ms or more to make; from about twice that on the files are the better place.
 */
export const SMALL_FEED_BYTES: number = 64 * 1024
export const SMALL_FEED_BLOCKS = 512
/** Commits of such a copy: each is read when it is opened. */
export const SMALL_FEED_COMMITS = 256
/** Bytes of a journal: some 50,000 small copies, and what is read in 0.2 s when the folder is first asked for one. */
export const JOURNAL_BYTES_MAX: number = 128 * 1024 * 1024
/** Bytes of one record of a journal: a commit of SMALL_FEED_BYTES with all nodes of SMALL_FEED_BLOCKS and a manifest fits. */
export const JOURNAL_RECORD_BYTES_MAX: number = 256 * 1024
/** Bytes of a journal from which it is written anew when less than half of it still counts. */
export const JOURNAL_WASTE_BYTES: number = 4 * 1024 * 1024

/** Levels of the tree of an index: 2^50 keys, four to a node, need 22. */
export const INDEX_DEPTH_MAX = 32
/** Nodes in one block of an index: a change touches one or two of each level, or makes them. */
export const INDEX_NODES_MAX = 128
/** Bytes of the nodes in one block of an index: a change touches some dozens, each of at most 150 bytes. */
export const INDEX_NODES_BYTES_MAX: number = 64 * 1024
/** Bytes of blocks of one index that stay in memory: those of some 50,000 files. */
export const INDEX_CACHE_BYTES_MAX: number = 16 * 1024 * 1024
/** Blocks of an index that a listing asks the network for before it comes to them. */
export const INDEX_READ_AHEAD_BLOCKS = 512
/** Bytes of one entry of a drive: names and numbers, and what applications put into its metadata. */
export const ENTRY_BYTES_MAX: number = 1024 * 1024
/** Rules of the ignore files that hold in one folder: each is compared with each name, and a clone's come from strangers. */
export const IGNORE_RULES_MAX = 16_384
/** Bytes of the ignore files that hold in one folder. */
export const IGNORE_BYTES_MAX: number = 1024 * 1024
/** Milliseconds of a scan between two turns of the event loop. */
export const SCAN_TURN_MS = 4
/** Entries that a scan hands over together: four times as many outlive a collection of garbage, and 25 MB instead of 10 are taken. */
export const SCAN_BATCH_ENTRIES = 256
/** Milliseconds after which blocks are given up that an entry names and no peer knows of: the feed may come a little later. */
export const ABSENT_BLOCKS_MS = 3_000
/** Milliseconds in which a file may change twice at the same time by its file system's clock: FAT's has steps of 2 s. */
export const RACY_MS = 2_000
/** Bytes of one part of a path: what nearly all file systems take. */
export const SEGMENT_BYTES_MAX = 255
/** Characters of a name that is written to a folder: no Linux takes a longer path. */
export const PATH_LENGTH_MAX = 4096
/** Milliseconds for which a folder that was no link is not looked at again before something is put into it. */
export const FOLDER_TRUST_MS = 250
/** Milliseconds of changes to a folder in a row before others have a turn. */
export const FOLDER_TURN_MS = 5
/** Days that what was replaced or deleted is kept. */
export const TRASH_DAYS = 30
/** Percent of the data that the trash may take. */
export const TRASH_PERCENT = 10
/** Bytes that the trash may take however small the data is: a tenth of a few letters keeps nothing. */
export const TRASH_BYTES_MIN: number = 16 * 1024 * 1024
/** Bytes of a block of a file in a drive, the last one excepted: what hyperblobs cuts, too. */
export const DRIVE_BLOCK_BYTES: number = 64 * 1024
/** Changes of a drive that are appended to its index together: memory, and what a stop in between takes. */
export const IMPORT_ENTRIES_MAX = 16_384
/** Changes of an index that are looked through for the end of those that were made together. */
export const INDEX_CHANGES_MAX: number = 2 * IMPORT_ENTRIES_MAX
/** Milliseconds until a file that is being written is looked at again; doubled up to the second: each look is at the whole tree. */
export const SETTLE_MS = 500
export const SETTLE_MS_MAX = 8_000
/** Milliseconds for which a file may be written before it is taken in as it is: a log has no end. */
export const GROWING_MS_MAX = 30_000
/** Blocks of one block map, as hyperblobs reads them. */
export const BLOCK_MAP_BLOCKS_MAX = 64
/** Blocks that one block map lists: 8,192 in each of its blocks. */
export const BLOCK_MAP_ENTRIES_MAX: number = 64 * 8192
/** Blocks of a file that are appended together while it is written. */
export const BLOB_APPEND_BLOCKS = 64
/** Blocks of a file that are fetched ahead of its reader, at most. */
export const BLOB_READ_AHEAD_BLOCKS = 64
/** Bytes of a file that are fetched ahead of its reader, by its largest block so far. */
export const BLOB_READ_AHEAD_BYTES: number = 4 * 1024 * 1024
/** Links that are followed one after the other, as hyperdrive does. */
export const LINKS_FOLLOWED_MAX = 16
/** Nodes of one level that are compared before it counts how many of them differ. */
export const COMPARED_NODES = 1024
/** Milliseconds for a node of a comparison: if nobody gives it, the file is fetched as a whole. */
export const COMPARED_NODE_MS = 5_000
/** Files that are compared with what they are to become at a time. */
export const COMPARED_FILES = 4
/** Bytes of a file up to which it is fetched without being compared: a comparison takes as long. */
export const FETCHED_WHOLE_BYTES: number = 16 * 1024
/** Bytes of files that a clone asks for while it still lists the drive: what comes stays in memory until then. */
export const AHEAD_BYTES_MAX: number = 16 * 1024 * 1024
/** Files of the same. */
export const AHEAD_FILES_MAX = 16_384
/** Files that are asked for together: where a range ends that is asked for a chunk ends too, and each takes a millisecond. */
export const AHEAD_STEP_FILES = 1024
/** Folders that are watched at a time: each takes 4 KiB here and memory of the system. */
export const WATCHES_MAX = 32_768
/** Changed names that are told apart; with more, everything counts as changed. */
export const WATCHED_NAMES_MAX = 10_000
/** Milliseconds without a change after which changes are told: most programs write a file in several steps. */
export const WATCH_SETTLE_MS = 200
/** Milliseconds after which changes are told even if there is no end of them. */
export const WATCH_SETTLE_MS_MAX = 2_000
/** Milliseconds between two looks at everything, since watches can miss changes. */
export const RESCAN_MS = 60_000
