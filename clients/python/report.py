import sys
import banshi_client as banshi

with banshi.Client("amqp://guest:guest@127.0.0.1:5672/%2f") as client:
    for path in sys.argv[1:]:
        with open(path, "rb") as file:
            outcome = client.send_and_wait(file.read(), timeout=300)
        if isinstance(outcome, banshi.Completed):
            print(outcome.job_id, outcome.artifact.uri)
        elif isinstance(outcome, banshi.Rejected):
            for problem in outcome.problems:
                print(outcome.job_id, problem.code, problem.path, problem.message_zh)
        else:
            print(outcome.job_id, outcome.code, outcome.message)
