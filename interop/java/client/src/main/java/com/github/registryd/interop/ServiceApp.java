package com.github.registryd.interop;

import java.util.List;
import org.springframework.beans.factory.annotation.Value;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.cloud.client.ServiceInstance;
import org.springframework.cloud.client.discovery.DiscoveryClient;
import org.springframework.cloud.client.loadbalancer.LoadBalanced;
import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Configuration;
import org.springframework.web.bind.annotation.GetMapping;
import org.springframework.web.bind.annotation.PathVariable;
import org.springframework.web.bind.annotation.RestController;
import org.springframework.web.client.RestTemplate;

/** A service as anybody would write it: it registers, and calls others by their names. */
@SpringBootApplication
public class ServiceApp {
    public static void main(String[] args) {
        SpringApplication.run(ServiceApp.class, args);
    }

    /** Calls others by their names, through the load balancer. */
    @Configuration(proxyBeanMethods = false)
    static class Calls {
        @Bean
        @LoadBalanced
        RestTemplate balanced() {
            return new RestTemplate();
        }
    }

    /** What tests and other services ask of this one. */
    @RestController
    static class Endpoints {
        private final DiscoveryClient discovery;
        private final RestTemplate balanced;
        private final String id;

        Endpoints(DiscoveryClient discovery, RestTemplate balanced, @Value("${eureka.instance.instance-id}") String id) {
            this.discovery = discovery;
            this.balanced = balanced;
            this.id = id;
        }

        /** Which instance this is. */
        @GetMapping("/id")
        String id() {
            return id;
        }

        /** The instances of a service that this one knows, by their ids. */
        @GetMapping("/instances/{service}")
        List<String> instances(@PathVariable("service") String service) {
            return discovery.getInstances(service).stream().map(ServiceInstance::getInstanceId).sorted().toList();
        }

        /** Calls a service by its name, and says which of its instances answered. */
        @GetMapping("/call/{service}")
        String call(@PathVariable("service") String service) {
            return balanced.getForObject("http://" + service + "/id", String.class);
        }
    }
}
