// The same as bare_hmac.rs with Go's net/http.
package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
)

func main() {
	secret := []byte(os.Getenv("SECRET"))
	http.HandleFunc("/token", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		mac := hmac.New(sha256.New, secret)
		mac.Write(body)
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"algorithm":"HMAC-SHA256","token":"%s"}`, hex.EncodeToString(mac.Sum(nil)))
	})
	log.Fatal(http.ListenAndServe(os.Args[1], nil))
}
