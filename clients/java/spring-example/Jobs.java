package example;

import java.nio.charset.StandardCharsets;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import org.springframework.amqp.AmqpException;
import org.springframework.amqp.core.Message;
import org.springframework.amqp.core.MessageBuilder;
import org.springframework.amqp.core.MessageDeliveryMode;
import org.springframework.amqp.rabbit.connection.CorrelationData;
import org.springframework.amqp.rabbit.core.RabbitTemplate;
import org.springframework.stereotype.Service;

/** Sends jobs to banshi: a call that returns was confirmed, any other throws. */
@Service
public class Jobs {
    private final RabbitTemplate template;

    public Jobs(RabbitTemplate template) {
        this.template = template;
    }

    /**
     * Sends a job and waits until the broker has it safe.
     *
     * @param lane {@code bulk} or {@code urgent}: another would be confirmed, and end in {@code banshi.unrouted}
     * @throws AmqpException or {@link TimeoutException} when it may or may not be there: send it again, as it
     *     is, which is harmless
     */
    public void send(String jobId, String job, String lane) throws InterruptedException, TimeoutException {
        if (!lane.equals("bulk") && !lane.equals("urgent")) {
            throw new IllegalArgumentException("there is no lane " + lane);
        }
        Message message =
                MessageBuilder.withBody(job.getBytes(StandardCharsets.UTF_8))
                        .setContentType("application/json")
                        .setDeliveryMode(MessageDeliveryMode.PERSISTENT)
                        .setMessageId(jobId)
                        .build();
        CorrelationData sent = new CorrelationData(); // with an id of its own, by which a return is known
        template.send("banshi.jobs", lane, message, sent);
        CorrelationData.Confirm confirm;
        try {
            confirm = sent.getFuture().get(30, TimeUnit.SECONDS);
        } catch (ExecutionException error) {
            throw new AmqpException("job " + jobId + " is not confirmed", error.getCause());
        }
        if (sent.getReturned() != null) { // before its confirmation
            throw new AmqpException("no queue takes lane " + lane + ": " + sent.getReturned().getReplyText());
        }
        if (!confirm.isAck()) { // a nack of the broker itself has no reason: the lane is full
            String reason = confirm.getReason() == null ? "the lane is full" : confirm.getReason();
            throw new AmqpException("job " + jobId + " is not taken by lane " + lane + ": " + reason + "; send it again");
        }
    }
}
