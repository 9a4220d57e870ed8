"""What the conformance suite speaks to: a request a line on standard input, an answer a line on
standard output (clients/conformance/README.md)."""

import json
import logging
import os
import ssl
import sys
import threading

import banshi_client as banshi

CODES = {
    banshi.InvalidJob: "invalid-job",
    banshi.NoSuchLane: "no-such-lane",
    banshi.QueueFull: "queue-full",
    banshi.NotConfirmed: "not-confirmed",
    banshi.BrokerRefused: "refused",
    banshi.TimedOut: "timed-out",
    banshi.Cancelled: "cancelled",
    banshi.Closed: "closed",
    banshi.UnknownEvent: "unknown-event",
}


def problem(it):
    return {key: value for key, value in vars(it).items() if value is not None}


def told(it):
    """An outcome, in the names of its event's data."""
    own = {} if it.job_id is None else {"job_id": it.job_id}
    if isinstance(it, banshi.Completed):
        warnings = [problem(warning) for warning in it.warnings]
        own |= {"template": it.template, "agency": it.agency, "year": it.year, "title": it.title,
                "artifact": vars(it.artifact), "manifest": {"uri": it.manifest_uri}, "warnings": warnings}
        if it.companions:
            own["companions"] = [vars(one) for one in it.companions]
    elif isinstance(it, banshi.Rejected):
        own |= {"problems": [problem(one) for one in it.problems]}
    else:
        own |= {"error": {"code": it.code, "message": it.message}, "attempts": it.attempts}
    return {"outcome": type(it).__name__.lower(), "event": it.event.id, "data": own}


def cancelled(asked):
    """What ends a call, after the seconds that are asked for."""
    cancel = threading.Event()
    if "cancel_after" in asked:
        threading.Timer(asked["cancel_after"], cancel.set).start()
    return cancel


def answer(client, asked):
    match asked["op"]:
        case "send":
            client.send(asked["job"], lane=asked["lane"], timeout=asked["timeout"], cancel=cancelled(asked),
                        correlation_id=asked.get("correlation_id"), headers=asked.get("headers"))
            return "confirmed"
        case "send_and_wait":
            return told(client.send_and_wait(asked["job"], timeout=asked["timeout"], cancel=cancelled(asked),
                                             correlation_id=asked.get("correlation_id")))
        case "wait":
            return told(client.wait(asked["job_id"], start=asked["from"], timeout=asked["timeout"],
                                    correlation_id=asked.get("correlation_id"), cancel=cancelled(asked)))
        case "events":
            found = []
            for event in client.events(asked["from"], timeout=asked["timeout"], cancel=cancelled(asked)):
                found.append({"offset": event.offset, "id": event.id, "source": event.source,
                              "type": event.type, "job_id": event.job_id, **told(event.outcome)})
                if len(found) == asked["count"]:
                    break
            return found
        case "outbox_put":
            banshi.Outbox(asked["folder"]).put(asked["job"], lane=asked["lane"])
            return "kept"
        case "outbox_flush":
            return banshi.Outbox(asked["folder"]).flush(client)
        case "close":
            client.close()
            return "closed"


def main():
    logging.basicConfig(level=logging.INFO)
    logging.getLogger("pika").setLevel(logging.CRITICAL)
    authority = os.environ.get("BANSHI_CA")
    trusted = ssl.create_default_context(cafile=authority) if authority else None
    url, prefix = os.environ["BANSHI_URL"], os.environ["BANSHI_PREFIX"]
    with banshi.Client(url, prefix=prefix, ssl_context=trusted) as client:
        for line in sys.stdin:
            try:
                said = {"ok": answer(client, json.loads(line))}
            except banshi.BanshiError as error:
                said = {"error": CODES[type(error)], "message": str(error)}
            print(json.dumps(said), flush=True)


main()
