//! Kinds of problems that every HTTP server has.

use bulkhead_envelope::problem_kinds;

problem_kinds! {
    MALFORMED_REQUEST = 400 "malformed_request" "Malformed request" {
        meaning: "The request breaks a rule of HTTP/1.1.",
        causes: "The request does not have exactly one header `Host`, or its value is not a host with an optional port. Or the \
                 request is plain HTTP, and the server expects HTTPS. Input that is not HTTP gets a bare status without a \
                 document.",
        remedy: "Send requests with an HTTP library, such as that of curl.",
    }
    NOT_FOUND = 404 "not_found" "Not found" {
        meaning: "The path is unknown, or no request has this id.",
        causes: "The path is misspelt, or the request was removed after the retention time.",
        remedy: "Compare the path with `/openapi.yaml`. Send the message again if its request was removed.",
    }
    METHOD_NOT_ALLOWED = 405 "method_not_allowed" "Method not allowed" {
        meaning: "The resource exists, but not with this method.",
        causes: "The request uses GET instead of POST, or the reverse.",
        remedy: "Use one of the methods in the header `Allow`.",
    }
    NOT_ACCEPTABLE = 406 "not_acceptable" "Not acceptable" {
        meaning: "The header `Accept` of the request excludes every media type of the resource.",
        causes: "The client asks for a media type that the resource does not have.",
        remedy: "Omit the header, or accept one of the media types that the header `Accept` of the response lists.",
    }
    BODY_TIMEOUT = 408 "body_timeout" "Body did not arrive in time" {
        meaning: "The request body did not arrive within the time limit.",
        causes: "The network is slow, or the client paused within the body.",
        remedy: "Send the whole body without pauses. Operators raise the limit with the setting that `detail` names.",
    }
    TARGET_TOO_LONG = 414 "target_too_long" "Request target too long" {
        meaning: "The path and query of the request are longer than the server accepts.",
        causes: "A message was sent in the query.",
        remedy: "Send the message with POST. Operators raise the limit with the setting that `detail` names.",
    }
    UNSUPPORTED_MEDIA_TYPE = 415 "unsupported_media_type" "Unsupported media type" {
        meaning: "The resource does not read bodies of this media type.",
        causes: "The header `Content-Type` is missing or names another type, or the body is compressed. curl sends a form by \
                 default.",
        remedy: "Send an uncompressed body of a media type that the header `Accept-Post` lists, for example with \
                 `-H 'Content-Type: application/json'`.",
    }
    HEADERS_TOO_LARGE = 431 "headers_too_large" "Request headers too large" {
        meaning: "The request headers are too large, or there are too many of them.",
        causes: "The client or a proxy adds many headers or large cookies.",
        remedy: "Send fewer headers. Operators raise the limit with the setting that `detail` names.",
    }
    INTERNAL = 500 "internal" "Internal error" {
        meaning: "The server failed to handle the request.",
        causes: "The server has a fault. Its log contains the reason with the `request_id` of the response.",
        remedy: "Send the request again. Operators search the log for the `request_id`, and report the fault.",
    }
    UNKNOWN_TRANSFER_CODING = 501 "unknown_transfer_coding" "Unknown transfer coding" {
        meaning: "The header `Transfer-Encoding` names a coding that the server does not know.",
        causes: "The client compresses the body on its way.",
        remedy: "Send the body with a `Content-Length`, or with `Transfer-Encoding: chunked` only.",
    }
    OVERLOADED = 503 "overloaded" "Overloaded" {
        meaning: "A limit on concurrent work is reached.",
        causes: "Other requests use the resource that `detail` names.",
        remedy: "Send the request again after the time in `Retry-After`. Operators raise the limit with the setting that \
                 `detail` names.",
    }
    NOT_CONFIGURED = 503 "not_configured" "Not configured" {
        meaning: "The server does not offer this service, because a setting is missing.",
        causes: "The server was started without a token secret or without a signing API.",
        remedy: "Operators set the variables that `detail` names, and restart the server.",
    }
    DRAINING = 503 "draining" "Shutting down" {
        meaning: "The server is shutting down and finishes running requests only.",
        causes: "A signal stopped the server, for example during an upgrade.",
        remedy: "Send the request to another server, or again after the time in `Retry-After`.",
    }
}
