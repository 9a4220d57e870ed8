/**
 * What the conformance suite speaks to: a request a line on standard input, an answer a line on
 * standard output (clients/conformance/README.md).
 */

import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { BanshiError, Client, Outbox, outcome, type Outcome } from './banshi-client.js';

const variable = (name: string): string => {
  const value = process.env[name];
  if (value === undefined) throw new Error(`${name} is not set`);
  return value;
};
const authority = process.env['BANSHI_CA'];
const client = new Client(variable('BANSHI_URL'), {
  prefix: variable('BANSHI_PREFIX'),
  logger: { debug: console.error, warn: console.error },
  ...(authority && { tls: { ca: readFileSync(authority) } }),
});

/** An outcome, in the names of its event's data. */
function told(it: Outcome): object {
  const common = { outcome: it.outcome, event: it.event.id };
  const job_id = it.jobId;
  switch (it.outcome) {
    case 'completed': {
      const { template, agency, year, title, artifact, companions, manifestUri: uri, warnings } = it;
      const beside = companions.length > 0 ? { companions } : {};
      return { ...common, data: { job_id, template, agency, year, title, artifact, ...beside, manifest: { uri }, warnings } };
    }
    case 'rejected':
      return { ...common, data: { job_id, problems: it.problems } };
    case 'failed': {
      const { code, message, attempts } = it;
      return { ...common, data: { job_id, error: { code, message }, attempts } };
    }
  }
}

async function answer(asked: any): Promise<unknown> {
  const timeout = asked.timeout * 1000;
  const signal = asked.cancel_after === undefined ? undefined : AbortSignal.timeout(asked.cancel_after * 1000);
  const { lane, correlation_id: correlationId, headers } = asked;
  switch (asked.op) {
    case 'send':
      await client.send(asked.job, { lane, timeout, correlationId, headers, signal });
      return 'confirmed';
    case 'send_and_wait':
      return told(await client.sendAndWait(asked.job, { timeout, correlationId, signal }));
    case 'wait':
      return told(await client.wait(asked.job_id, { start: asked.from, correlationId, timeout, signal }));
    case 'events': {
      const found = [];
      for await (const event of client.events(asked.from, { idle: timeout, signal })) {
        const { offset, id, source, type, jobId } = event;
        found.push({ offset, id, source, type, job_id: jobId ?? null, ...told(outcome(event)) });
        if (found.length === asked.count) break;
      }
      return found;
    }
    case 'outbox_put':
      await new Outbox(asked.folder).put(asked.job, lane);
      return 'kept';
    case 'outbox_flush':
      return await new Outbox(asked.folder).flush(client);
    case 'close':
      await client.close();
      return 'closed';
    default:
      throw new Error(`no operation ${asked.op}`);
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  let said: object;
  try {
    said = { ok: await answer(JSON.parse(line)) };
  } catch (error) {
    if (!(error instanceof BanshiError)) throw error;
    said = { error: error.code, message: error.message };
  }
  process.stdout.write(`${JSON.stringify(said)}\n`);
}
await client.close();
