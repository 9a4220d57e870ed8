/**
 * Sends report jobs to banshi over RabbitMQ, and says what became of them.
 *
 * Takes jobs (an object, or JSON as text or bytes). Gives confirmations, typed results and events.
 * Never drops a job silently: a promise that resolves was confirmed, any other rejects. If we crash
 * here, a job that was not confirmed may or may not be there: send it again, with the same `job_id`,
 * which is harmless; {@link Outbox} keeps it until then.
 */

import { randomUUID } from 'node:crypto';
import { mkdir, open, readdir, readFile, rename, rm } from 'node:fs/promises';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ConnectionOptions } from 'node:tls';
import { debuglog } from 'node:util';
import { connect, type Channel, type ChannelModel, type ConfirmChannel, type ConsumeMessage } from 'amqplib';

/** A job: an object, or its JSON as text or bytes, which are sent as they are. */
export type Job = object | string | Uint8Array;

/** Where a job waits. */
export type Lane = 'bulk' | 'urgent';

/** What is wrong (docs/problems.md): `path` is a JSON Pointer (RFC 6901) into the job. */
export interface Problem {
  code: string;
  path: string;
  message: string;
  message_zh: string;
  expected?: string;
  actual?: string;
}

/** The PDF that was stored. `bytes` is its size; compare `sha256` with what you fetch. */
export interface Artifact {
  uri: string;
  media_type: string;
  bytes: number;
  sha256: string;
  pages: number;
  standard: string;
}

/** The same report in another format, beside its PDF, where banshi is set to make some. */
export interface Companion {
  format: string;
  uri: string;
  media_type: string;
  sha256: string;
  bytes: number;
}

/** A CloudEvent of banshi. `body` is all of it; `offset` is its place in the log. */
export interface Event {
  id: string;
  source: string;
  type: string;
  time: string;
  jobId?: string;
  offset: number;
  body: Record<string, unknown>;
}

/** The PDF and its manifest are stored. */
export interface Completed {
  outcome: 'completed';
  jobId: string;
  template: string;
  agency: string;
  year: number;
  title: string;
  artifact: Artifact;
  companions: Companion[];
  manifestUri: string;
  warnings: Problem[];
  event: Event;
}

/** The job can never succeed as it is. There is no `jobId` when it could not be read. */
export interface Rejected {
  outcome: 'rejected';
  jobId?: string;
  problems: Problem[];
  event: Event;
}

/** The job might have succeeded; `code` is the part that failed. It may be sent again. */
export interface Failed {
  outcome: 'failed';
  jobId?: string;
  code: string;
  message: string;
  attempts: number;
  event: Event;
}

export type Outcome = Completed | Rejected | Failed;

/**
 * - `invalid-job`: not a JSON object with a `job_id`, or its correlation id is too long; nothing was sent.
 * - `no-such-lane`: no queue takes this lane: it is misspelt, or banshi's queues are not there.
 * - `queue-full`: the broker refused the job, for its lane is full: wait, and send it again.
 * - `not-confirmed`: no confirmation in time; the job may or may not be there: send it again.
 * - `refused`: the broker says that we may not, or that something is not there, or we do not trust its
 *   certificate.
 * - `timed-out`: the job was confirmed, and what became of it was not known in time.
 * - `cancelled`: the caller's signal; a job that was confirmed is still worked on.
 * - `unknown-event`: the log has what this version does not know.
 * - `closed`: the client was closed before; nothing was sent.
 */
export type Code =
  | 'invalid-job'
  | 'no-such-lane'
  | 'queue-full'
  | 'not-confirmed'
  | 'refused'
  | 'timed-out'
  | 'cancelled'
  | 'unknown-event'
  | 'closed';

/** Whatever this library rejects with. */
export class BanshiError extends Error {
  constructor(
    readonly code: Code,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
    this.name = 'BanshiError';
  }
}

/** What it logs with; `console` is one. Without it, `NODE_DEBUG=banshi` shows it. */
export interface Logger {
  debug(message: string): void;
  warn(message: string): void;
}

export interface ClientOptions {
  /** Of the names at the broker, the operator's to change; default `banshi`. */
  prefix?: string;
  /** The milliseconds that a call may take to send and have it confirmed; default 30,000. */
  timeout?: number;
  logger?: Logger;
  /** Whom to trust behind `amqps://` (`ca`), and who we are (`cert`, `key`). */
  tls?: ConnectionOptions;
}

export interface SendOptions {
  /** Default `bulk`. */
  lane?: Lane;
  /** Yours, 255 bytes at most; it comes back on the event. Empty is none. */
  correlationId?: string;
  /** Such as `traceparent` and `tracestate`. */
  headers?: Record<string, string>;
  /** In milliseconds. */
  timeout?: number;
  signal?: AbortSignal;
}

export interface WaitOptions {
  /** Where in the log to begin; default `first`. */
  start?: Start;
  /** Of which sending. */
  correlationId?: string;
  /** In milliseconds; default five minutes. */
  timeout?: number;
  signal?: AbortSignal;
}

/** `first`, `last`, `next` (only new ones), an offset, a time, or an age as `1h`. */
export type Start = 'first' | 'last' | 'next' | number | Date | (string & {});

const JOB_ID = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/;
/** Repeats are dropped among so many events. */
const REMEMBERED = 100_000;
/** How far clocks may differ, in milliseconds. */
const CLOCKS = 5 * 60_000;
/** Milliseconds that setting up a connection may take. */
const SETUP = 10_000;
const debug = debuglog('banshi');
const SILENT: Logger = { debug: (it) => debug('%s', it), warn: (it) => debug('%s', it) };

/** A sender and reader; it connects when it first needs to. */
export class Client {
  readonly #broker: Broker;
  readonly #prefix: string;
  readonly #timeout: number;
  readonly #log: Logger;
  #sender?: Sender;
  /** One job is on its way at a time: a return has nothing that says whose it is. */
  #turn: Promise<unknown> = Promise.resolve();

  constructor(url: string, options: ClientOptions = {}) {
    const address = new URL(url);
    if (!address.searchParams.has('heartbeat')) address.searchParams.set('heartbeat', '10');
    this.#broker = { url: address.href, tls: options.tls, closed: false };
    this.#prefix = options.prefix ?? 'banshi';
    this.#timeout = options.timeout ?? 30_000;
    this.#log = options.logger ?? SILENT;
  }

  /**
   * Ends the connection, once the jobs that are to be sent already are. A client that is closed connects
   * no more: what needs a connection then rejects with `closed`.
   */
  async close(): Promise<void> {
    this.#broker.closed = true;
    await this.#turn;
    await this.#drop();
  }

  /** For `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /**
   * Sends a job; it resolves once the broker has it safe. A connection that is lost before that is
   * made anew and the job is sent again.
   */
  async send(job: Job, options: SendOptions = {}): Promise<void> {
    const [body, jobId] = read(job, options.correlationId);
    const lane = known(options.lane ?? 'bulk');
    if (this.#broker.closed) throw new BanshiError('closed', `job ${jobId} was not sent: the client is closed`);
    const limit = new Limit(options.timeout ?? this.#timeout, options.signal);
    const late = () => limit.error('not-confirmed', `job ${jobId}: no confirmation in time; send it again`);
    const sent = this.#turn.then(() => this.#send(body, jobId, lane, options, limit, late));
    this.#turn = sent.catch(() => {}); // it is the sender's, and told there
    try {
      await limit.hold(sent, late);
    } finally {
      limit.end();
    }
  }

  async #send(
    body: Buffer,
    jobId: string,
    lane: Lane,
    options: SendOptions,
    limit: Limit,
    late: () => BanshiError,
  ): Promise<void> {
    const doubts = new Doubts();
    for (let pause = 100; ; pause = Math.min(2 * pause, 5_000)) {
      if (limit.over) throw late();
      try {
        const { headers } = options;
        const correlationId = options.correlationId || undefined;
        this.#sender ??= await Sender.open(this.#broker, limit, late);
        const message = { messageId: jobId, correlationId, headers };
        await this.#sender.publish(`${this.#prefix}.jobs`, lane, body, message, limit, late);
        this.#log.debug(`job ${jobId} is confirmed in lane ${lane}`);
        return;
      } catch (error) {
        const own = error instanceof BanshiError ? error.code : undefined;
        if (own === 'queue-full' || own === 'no-such-lane') throw error; // the connection is as good as before
        await this.#drop(); // a confirmation that comes late must not be taken for the next job's
        if (own) throw error;
        doubts.check(error);
        this.#log.warn(`job ${jobId} is not confirmed yet, sending it again: ${error}`);
        await limit.sleep(pause, () =>
          limit.error('not-confirmed', `job ${jobId}: no confirmation in time; send it again (${error})`),
        );
      }
    }
  }

  /**
   * Sends a job and waits for its event in the log of events, over lost connections too. The event is
   * known by its `correlationId`, which must be of this job alone (made here when it is not given).
   * `timeout` is for all of it; five minutes by default.
   */
  async sendAndWait(job: Job, options: SendOptions = {}): Promise<Outcome> {
    const [, jobId] = read(job, options.correlationId);
    const correlationId = options.correlationId || randomUUID();
    const timeout = options.timeout ?? 300_000;
    const limit = new Limit(timeout, options.signal);
    const events = new Log(this.#broker, this.#prefix, 'last', this.#log);
    const late = () => limit.error('timed-out', `job ${jobId}: there was no event in ${timeout} ms`);
    try {
      const unsent = () => limit.error('not-confirmed', `job ${jobId} was not sent: the broker was not reached in time`);
      await events.attach(limit, unsent); // before the job is there: its event can't be missed
      await this.send(job, { ...options, correlationId, timeout: Math.min(timeout, this.#timeout) });
      return await events.find(jobId, correlationId, limit, late);
    } finally {
      limit.end();
      await events.close();
    }
  }

  /**
   * What became of a job that was sent before, by whomever: at once, where it has ended. That is the
   * first event of it from `start` on, and, where `correlationId` is given, of that sending. What is no
   * event of banshi is passed over, and logged.
   */
  async wait(jobId: string, options: WaitOptions = {}): Promise<Outcome> {
    const timeout = options.timeout ?? 300_000;
    const limit = new Limit(timeout, options.signal);
    const events = new Log(this.#broker, this.#prefix, options.start ?? 'first', this.#log);
    const late = () => limit.error('timed-out', `job ${jobId}: there was no event in ${timeout} ms`);
    try {
      return await events.find(jobId, options.correlationId || undefined, limit, late);
    } finally {
      limit.end();
      await events.close();
    }
  }

  /**
   * The events of thirty days, from an offset on, over lost connections too; repeats are dropped. It
   * ends when there was no event for `idle` milliseconds, when you leave the loop, or, with an error,
   * by `signal`. Keep `offset + 1` with what you made of an event, to go on there.
   */
  async *events(
    start: Start = 'next',
    options: { idle?: number; signal?: AbortSignal } = {},
  ): AsyncGenerator<Event, void, undefined> {
    const seen = new Set<string>();
    const events = new Log(this.#broker, this.#prefix, start, this.#log);
    try {
      for (;;) {
        const limit = new Limit(options.idle, options.signal);
        let event: Event;
        try {
          [event] = await events.next(limit, () => limit.error('timed-out', 'no event'));
        } catch (error) {
          if (error instanceof BanshiError && error.code === 'timed-out') return;
          throw error;
        } finally {
          limit.end();
        }
        const key = `${event.source} ${event.id}`;
        if (seen.has(key)) continue;
        seen.add(key);
        if (seen.size > REMEMBERED) for (const oldest of seen) { seen.delete(oldest); break; }
        yield event;
      }
    } finally {
      await events.close();
    }
  }

  async #drop(): Promise<void> {
    const sender = this.#sender;
    this.#sender = undefined;
    await sender?.close();
  }
}

/**
 * Jobs that are to be sent, in a folder, where they survive a crash of the sender. A file is a job,
 * `NUMBER-RANDOM.LANE.json`, sent in the order of the numbers and removed once it is confirmed. If we
 * crash in between, it is sent again, which is harmless.
 */
export class Outbox {
  constructor(readonly folder: string) {}

  /** Keeps a job; when this resolves it is on the disk. */
  async put(job: Job, lane: Lane = 'bulk'): Promise<string> {
    const [body] = read(job);
    const name = `${String(number()).padStart(20, '0')}-${randomUUID().slice(0, 8)}.${known(lane)}.json`;
    await mkdir(this.folder, { recursive: true });
    const part = join(this.folder, `.${name}.part`);
    try {
      const file = await open(part, 'wx');
      try {
        await file.writeFile(body);
        await file.sync();
      } finally {
        await file.close();
      }
      await rename(part, join(this.folder, name));
    } catch (error) {
      await rm(part, { force: true });
      throw error;
    }
    if (process.platform !== 'win32') { // which syncs no folders
      const folder = await open(this.folder, 'r');
      try {
        await folder.sync();
      } finally {
        await folder.close();
      }
    }
    return join(this.folder, name);
  }

  /** The jobs that are kept, the first first. */
  async waiting(): Promise<string[]> {
    await mkdir(this.folder, { recursive: true });
    const names = await readdir(this.folder);
    return names.filter((it) => it.endsWith('.json') && !it.startsWith('.')).sort();
  }

  /** Sends all, and says how many; what it rejects with leaves the job and those after it kept. */
  async flush(client: Client, options: { signal?: AbortSignal } = {}): Promise<number> {
    let sent = 0;
    for (const name of await this.waiting()) {
      const path = join(this.folder, name);
      let body: Buffer;
      try {
        body = await readFile(path);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'ENOENT') continue; // another process sent it meanwhile
        throw error;
      }
      await client.send(body, { ...options, lane: known(name.split('.').at(-2) ?? '') });
      await rm(path, { force: true });
      sent += 1;
    }
    return sent;
  }
}

let last = 0n;

/** The moment in nanoseconds, and more than the one before, in whichever outbox that was. */
function number(): bigint {
  const now = BigInt(Date.now()) * 1_000_000n;
  last = now > last ? now : last + 1n;
  return last;
}

/** What became of the job of an event; throws `unknown-event` where this version can't say. */
export function outcome(event: Event): Outcome {
  try {
    return told(event);
  } catch (error) {
    if (error instanceof BanshiError) throw error;
    throw new BanshiError('unknown-event', `event ${event.id} is no ${event.type} of banshi: ${error}`, { cause: error });
  }
}

function told(event: Event): Outcome {
  // The contract of events: docs/upstream.md.
  const data = event.body['data'] as any;
  const { jobId } = event;
  switch (event.type) {
    case 'report.completed':
      return {
        outcome: 'completed',
        jobId: data.job_id,
        template: data.template,
        agency: data.agency,
        year: data.year,
        title: data.title,
        artifact: data.artifact,
        companions: data.companions ?? [],
        manifestUri: data.manifest.uri,
        warnings: data.warnings,
        event,
      };
    case 'report.rejected':
      return { outcome: 'rejected', jobId, problems: data.problems, event };
    case 'report.failed':
      return { outcome: 'failed', jobId, code: data.error.code, message: data.error.message, attempts: data.attempts, event };
    default:
      throw new BanshiError('unknown-event', `event ${event.id} is a ${event.type}, which this version does not know`);
  }
}

/** How long something may take, and the caller's signal. */
class Limit {
  readonly #ends: number;
  readonly #stop = new AbortController();
  readonly #timer?: NodeJS.Timeout;

  constructor(timeout: number | undefined, readonly signal?: AbortSignal) {
    this.#ends = timeout === undefined ? Infinity : performance.now() + timeout;
    if (timeout !== undefined) this.#timer = setTimeout(() => this.#stop.abort(), timeout);
    signal?.addEventListener('abort', this.#abort);
    if (signal?.aborted) this.#stop.abort();
  }

  readonly #abort = () => this.#stop.abort();

  get over(): boolean {
    return this.#stop.signal.aborted;
  }

  end(): void {
    clearTimeout(this.#timer);
    this.signal?.removeEventListener('abort', this.#abort);
  }

  error(code: Code, message: string): BanshiError {
    if (!this.signal?.aborted) return new BanshiError(code, message);
    return new BanshiError('cancelled', 'the wait was cancelled', { cause: this.signal.reason });
  }

  /** A promise's value, or an error when it is too late; then what comes after all is `unwanted`. */
  async hold<T>(promise: Promise<T>, late: () => Error, unwanted?: (value: T) => void): Promise<T> {
    const { signal } = this.#stop;
    return new Promise((resolve, reject) => {
      const stop = () => {
        reject(late());
        promise.then(unwanted, () => {}); // the caller has its error
      };
      if (signal.aborted) return stop();
      signal.addEventListener('abort', stop, { once: true });
      promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', stop));
    });
  }

  /** As many milliseconds, or those that are left. */
  within(ms: number): number {
    return Math.max(1, Math.min(ms, this.#ends - performance.now()));
  }

  async sleep(ms: number, late: () => Error): Promise<void> {
    if (performance.now() + ms >= this.#ends) throw late();
    await this.hold(sleep(ms), late);
  }
}

/** Where the broker is, how it is trusted, and whether we are done with it. */
interface Broker {
  readonly url: string;
  readonly tls?: ConnectionOptions;
  closed: boolean;
}

async function dial({ url, tls }: Broker, limit: Limit, late: () => Error): Promise<ChannelModel> {
  const dial = async () => {
    const connection = await connect(url, { ...tls, timeout: limit.within(SETUP) }); // which ends its socket, too
    connection.on('error', () => {}); // `close` follows, and is heard
    return connection;
  };
  return limit.hold(dial(), late, (it) => void end(it));
}

/** Ends a connection with nothing on its way, without waiting for a broker that is silent. */
async function end(connection: ChannelModel): Promise<void> {
  await Promise.race([connection.close().catch(() => {}), sleep(1_000, undefined, { ref: false })]);
  (connection.connection as unknown as { stream: Socket }).stream.destroy();
}

/** How Node calls what is wrong with a certificate. */
const CERTIFICATES = /CERT|UNABLE_TO_(GET_ISSUER|VERIFY)/;

/** Knows an error of `connect` that another try would not change. */
class Doubts {
  #closed = 0;

  check(error: unknown): void {
    const words = String(error);
    if (CERTIFICATES.test(String((error as { code?: unknown } | undefined)?.code))) {
      throw new BanshiError('refused', `the broker's certificate is not trusted: ${words}`, { cause: error });
    }
    // amqplib does not say why the broker closes a connection as it opens the virtual host: that there is
    // none, most often, or that it goes away just now.
    this.#closed = words.includes('Expected ConnectionOpenOk; got <ConnectionClose') ? this.#closed + 1 : 0;
    if (this.#closed === 3 || /Handshake terminated by server: (403|530)/.test(words)) {
      throw new BanshiError('refused', `the broker refuses: ${words}`, { cause: error });
    }
  }
}

/** An error that another try would not change. */
function refusal(error: unknown): BanshiError | undefined {
  const code = (error as { code?: unknown } | undefined)?.code;
  if (typeof code !== 'number') return undefined; // a channel's has the number of AMQP's reply
  return new BanshiError('refused', `the broker refuses: ${error}`, { cause: error });
}

/** A connection with confirms. */
class Sender {
  #returned?: string;
  #nacked = false;
  #open = true;
  #error?: unknown;

  private constructor(
    readonly connection: ChannelModel,
    readonly channel: ConfirmChannel,
  ) {
    channel.on('error', (error: unknown) => (this.#error = error));
    channel.on('close', () => (this.#open = false));
    connection.on('close', () => (this.#open = false));
    channel.on('return', ({ fields }: any) => (this.#returned = `${fields.replyCode} ${fields.replyText}`));
    channel.prependListener('nack', () => (this.#nacked = true)); // before the callback of the message
  }

  static async open(broker: Broker, limit: Limit, late: () => Error): Promise<Sender> {
    const connection = await dial(broker, limit, late);
    try {
      return new Sender(connection, await limit.hold(connection.createConfirmChannel(), late));
    } catch (error) {
      void end(connection);
      throw error;
    }
  }

  async publish(
    exchange: string,
    lane: Lane,
    body: Buffer,
    message: { messageId: string; correlationId?: string; headers?: Record<string, string> },
    limit: Limit,
    late: () => Error,
  ): Promise<void> {
    if (!this.#open) throw new Error('the connection is lost');
    this.#returned = undefined;
    this.#nacked = false;
    const options = { ...message, mandatory: true, persistent: true, contentType: 'application/json' };
    const confirmed = new Promise<void>((resolve, reject) => {
      const done = (error: unknown) => (error ? reject(error) : resolve());
      this.channel.publish(exchange, lane, body, options, done);
    });
    try {
      await limit.hold(confirmed, late);
    } catch (error) {
      if (this.#nacked) {
        throw new BanshiError('queue-full', `lane ${lane} of ${exchange} is full: wait, and send the job again`);
      }
      throw refusal(this.#error) ?? error;
    }
    if (this.#returned) {
      throw new BanshiError('no-such-lane', `no queue takes lane ${lane} of ${exchange}: ${this.#returned}`);
    }
  }

  async close(): Promise<void> {
    await end(this.connection);
  }
}

/** The stream of events, read on where it was when a connection is lost. */
class Log {
  readonly #queue: string;
  #connection?: ChannelModel;
  #channel?: Channel;
  #error?: unknown;
  #arrived: ConsumeMessage[] = [];
  #wake: () => void = () => {};

  constructor(
    readonly broker: Broker,
    prefix: string,
    private start: Start,
    readonly log: Logger,
  ) {
    this.#queue = `${prefix}.events.log`;
  }

  /** Begins to listen. */
  async attach(limit: Limit, late: () => Error): Promise<void> {
    const doubts = new Doubts();
    for (let pause = 100; ; pause = Math.min(2 * pause, 5_000)) {
      if (this.broker.closed) throw new BanshiError('closed', 'no events from the broker: the client is closed');
      try {
        const connection = await dial(this.broker, limit, late);
        this.#connection = connection;
        const channel = await limit.hold(connection.createChannel(), late);
        this.#error = undefined;
        const lost = () => {
          if (this.#connection !== connection) return;
          this.#channel = undefined;
          this.#wake();
        };
        channel.on('error', (error: unknown) => (this.#error = error));
        channel.on('close', lost);
        connection.on('close', lost);
        await limit.hold(channel.prefetch(100), late);
        const { start } = this;
        const offset = start instanceof Date ? { '!': 'timestamp', value: Math.floor(start.getTime() / 1000) } : start;
        const arrived = (message: ConsumeMessage | null) => {
          if (this.#connection !== connection) return;
          if (message) this.#arrived.push(message);
          else this.#channel = undefined; // the broker ended it
          this.#wake();
        };
        this.#channel = channel;
        const consuming = channel.consume(this.#queue, arrived, { arguments: { 'x-stream-offset': offset } });
        await limit.hold(consuming, late);
        // Where to go on if the connection is lost before anything arrived: after `last` nothing was there,
        // after `next` rather some events from before than to miss one.
        if (this.start === 'last') this.start = 'first';
        else if (this.start === 'next') this.start = new Date(Date.now() - CLOCKS);
        return;
      } catch (error) {
        await this.close();
        if (error instanceof BanshiError) throw error;
        const refused = refusal(this.#error ?? error);
        if (refused) throw refused;
        doubts.check(error);
        this.log.warn(`no events from the broker, trying again: ${error}`);
        await limit.sleep(pause, late);
      }
    }
  }

  /** The next event and its message's correlation id. */
  async next(limit: Limit, late: () => Error): Promise<[Event, string | undefined]> {
    for (;;) {
      if (!this.#channel) {
        if (this.#connection) this.log.warn(`the connection is lost, reading events on from ${this.start}`);
        await this.close();
        await this.attach(limit, late);
      }
      const message = this.#arrived.shift();
      if (message) return this.#take(message);
      if (this.#channel) await limit.hold(new Promise<void>((resolve) => (this.#wake = resolve)), late);
    }
  }

  /** What became of a job; what is no event of banshi does not end it. */
  async find(jobId: string, correlationId: string | undefined, limit: Limit, late: () => Error): Promise<Outcome> {
    for (;;) {
      try {
        const [event, its] = await this.next(limit, late);
        if (event.jobId === jobId && (correlationId === undefined || its === correlationId)) return outcome(event);
      } catch (error) {
        if (!(error instanceof BanshiError && error.code === 'unknown-event')) throw error;
        this.log.warn(`passed over: ${error.message}`);
      }
    }
  }

  #take(message: ConsumeMessage): [Event, string | undefined] {
    const offset: unknown = message.properties.headers?.['x-stream-offset'];
    if (typeof offset !== 'number') throw new BanshiError('refused', `${this.#queue} is no stream`);
    this.#channel?.ack(message);
    this.start = offset + 1;
    let body: any;
    try {
      body = structured(message);
    } catch (error) {
      throw new BanshiError('unknown-event', `${this.#queue} has no event at offset ${offset}`, { cause: error });
    }
    const { id, source, type, time, subject: jobId } = body ?? {};
    if ([id, source, type, time].some((it) => typeof it !== 'string')) {
      throw new BanshiError('unknown-event', `${this.#queue} has no event at offset ${offset}`);
    }
    return [{ id, source, type, time, jobId, offset, body }, message.properties.correlationId];
  }

  async close(): Promise<void> {
    const connection = this.#connection;
    this.#connection = this.#channel = undefined;
    this.#arrived = [];
    if (connection) await end(connection);
  }
}

/** An event whole, in whichever of CloudEvents' two modes its message has it. */
function structured({ content, properties }: ConsumeMessage): Record<string, unknown> {
  const body = JSON.parse(content.toString());
  const { contentType = '', headers = {} } = properties;
  if (contentType.startsWith('application/cloudevents')) return body;
  const attributes = Object.entries(headers).filter(([name]) => name.startsWith('ce-'));
  return {
    subject: body.job_id, // not every subject can stand in a header
    ...Object.fromEntries(attributes.map(([name, value]) => [name.slice(3), value])),
    datacontenttype: contentType,
    data: body,
  };
}

/** A job's bytes and its id. */
function read(job: Job, correlationId?: string): [Buffer, string] {
  let body: Buffer;
  let parsed: any;
  try {
    if (typeof job === 'string' || job instanceof Uint8Array) {
      body = Buffer.from(job as string);
      parsed = JSON.parse(body.toString().replace(/^\uFEFF/, '')); // a byte-order mark, which the service takes
    } else {
      body = Buffer.from(JSON.stringify(job));
      parsed = job;
    }
  } catch (error) {
    throw new BanshiError('invalid-job', `the job is not JSON: ${error}`, { cause: error });
  }
  const id: unknown = parsed?.job_id;
  if (typeof id !== 'string' || !JOB_ID.test(id)) {
    const found = JSON.stringify(id);
    throw new BanshiError('invalid-job', `job_id is ${found} and must be 1-128 of A-Z a-z 0-9 . _ -, a letter or digit first`);
  }
  const length = Buffer.byteLength(correlationId ?? '');
  if (length > 255) { // AMQP's short string
    throw new BanshiError('invalid-job', `job ${id}: its correlation id has ${length} bytes; there may be 255`);
  }
  return [body, id];
}

function known(lane: string): Lane {
  if (lane === 'bulk' || lane === 'urgent') return lane;
  throw new BanshiError('no-such-lane', `there is no lane ${JSON.stringify(lane)}; there are bulk and urgent`);
}
