/**
 * What the conformance suite speaks to: a request a line on standard input, an answer a line on
 * standard output (clients/conformance/README.md).
 */

import { createInterface } from 'node:readline';
import { BanshiError, Client, Outbox, type Outcome } from './banshi-client.js';

const variable = (name: string): string => {
  const value = process.env[name];
  if (value === undefined) throw new Error(`${name} is not set`);
  return value;
};
const logger = { debug: console.error, warn: console.error };
const client = new Client(variable('BANSHI_URL'), { prefix: variable('BANSHI_PREFIX'), logger });

function told(it: Outcome): object {
  const common = { outcome: it.outcome, job_id: it.jobId, event: it.event.id };
  switch (it.outcome) {
    case 'completed': {
      const { template, title, artifact, manifestUri: manifest, warnings } = it;
      return { ...common, template, title, artifact, manifest, warnings };
    }
    case 'rejected':
      return { ...common, problems: it.problems };
    case 'failed':
      return { ...common, code: it.code, message: it.message, attempts: it.attempts };
  }
}

async function answer(asked: any): Promise<unknown> {
  const timeout = asked.timeout * 1000;
  switch (asked.op) {
    case 'send':
      await client.send(asked.job, { lane: asked.lane, timeout });
      return 'confirmed';
    case 'send_and_wait': {
      const signal = asked.cancel_after && AbortSignal.timeout(asked.cancel_after * 1000);
      return told(await client.sendAndWait(asked.job, { timeout, signal }));
    }
    case 'events': {
      const found = [];
      for await (const { offset, id, type, jobId } of client.events(asked.from, { idle: timeout })) {
        found.push({ offset, id, type, job_id: jobId });
        if (found.length === asked.count) break;
      }
      return found;
    }
    case 'outbox_put':
      await new Outbox(asked.folder).put(asked.job, asked.lane);
      return 'kept';
    case 'outbox_flush':
      return await new Outbox(asked.folder).flush(client);
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
