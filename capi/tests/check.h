// What the tests in C say of a call: its code, and words of the message of an error.

#ifndef CHECK_H
#define CHECK_H

#include <peer_health_testing.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define IS(call, code, says) is(__LINE__, #call, (call), (code), (says))
#define TRUE(condition) is(__LINE__, #condition, !(condition), 0, NULL)

static const uint8_t ALICE[] = "alice";
#define PEER ALICE, sizeof ALICE - 1

static void is(int line, const char *call, int32_t got, int32_t code, const char *says) {
    char why[512] = "";
    if (code < 0) ph_last_error(why, sizeof why);
    if (got == code && (!says || strstr(why, says))) return;
    fprintf(stderr, "line %d: %s: %d, expected %d: '%s', expected '%s'\n", line, call, got, code, why,
            says ? says : "");
    exit(1);
}

static ph_config defaults(void) {
    ph_config config = {.struct_size = sizeof config};
    IS(ph_config_default(&config), PH_OK, NULL);
    return config;
}

#endif
