package example;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;
import org.springframework.amqp.core.ExchangeTypes;
import org.springframework.amqp.core.Message;
import org.springframework.amqp.core.QueueBuilder;
import org.springframework.amqp.rabbit.annotation.Argument;
import org.springframework.amqp.rabbit.annotation.Exchange;
import org.springframework.amqp.rabbit.annotation.Queue;
import org.springframework.amqp.rabbit.annotation.QueueBinding;
import org.springframework.amqp.rabbit.annotation.RabbitListener;
import org.springframework.context.annotation.Bean;
import org.springframework.stereotype.Component;

/** Hears what became of jobs, by a durable queue of its own. An event is acknowledged when this returns. */
@Component
public class Events {
    private static final Logger LOG = LoggerFactory.getLogger(Events.class);

    private final ObjectMapper json = new ObjectMapper();

    /** What could not be heard in ten tries (application.properties), kept for a person. */
    @Bean
    static org.springframework.amqp.core.Queue dead() {
        return QueueBuilder.durable("archive.city.dead").quorum().build();
    }

    @RabbitListener(
            bindings =
                    @QueueBinding(
                            value =
                                    @Queue(
                                            name = "archive.city",
                                            durable = "true",
                                            arguments = {
                                                @Argument(name = "x-queue-type", value = "quorum"),
                                                @Argument(name = "x-dead-letter-exchange", value = ""),
                                                @Argument(
                                                        name = "x-dead-letter-routing-key",
                                                        value = "archive.city.dead")
                                            }),
                            exchange =
                                    @Exchange(name = "banshi.events", type = ExchangeTypes.TOPIC, declare = Exchange.FALSE),
                            key = "report.#"))
    public void hear(Message message) throws IOException {
        JsonNode event = json.readTree(message.getBody());
        // The same event may come twice: keep it by source and id, and pass over one that you have.
        String job = event.path("subject").asText();
        JsonNode data = event.path("data");
        switch (event.path("type").asText()) {
            case "report.completed" -> LOG.info("{}: {}", job, data.at("/artifact/uri").asText());
            case "report.rejected" -> {
                for (JsonNode it : data.path("problems")) {
                    LOG.warn("{}: {} {} {}", job, it.path("code"), it.path("path"), it.path("message_zh"));
                }
            }
            case "report.failed" -> LOG.error("{}: {}", job, data.at("/error/message").asText());
            default -> LOG.debug("{}: an event of a later version", job);
        }
    }
}
