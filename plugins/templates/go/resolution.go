//go:build resolution

package main

// What the host calls where a policy defines question and reading.

import "unsafe"

//go:wasmexport question
func exportQuestion(receipt unsafe.Pointer) unsafe.Pointer {
	return answer(44, func(at memory) error {
		said, err := question(liftReceipt(receipt))
		if err == nil && said != nil {
			at.byte(4, 1)
			said.put(at.at(8))
		}
		return err
	})
}

//go:wasmexport cabi_post_question
func postQuestion(result unsafe.Pointer) { held = held[:0] }

//go:wasmexport reading
func exportReading(arguments unsafe.Pointer) unsafe.Pointer {
	return answer(44, func(at memory) error {
		asked := unsafe.Add(arguments, receiptSize)
		reply := liftReply(unsafe.Add(asked, outboundSize))
		said, err := reading(liftReceipt(arguments), liftOutbound(asked), reply)
		if err == nil && said == nil {
			err = errNoFinding
		}
		if err == nil {
			said.finding(at.at(4))
		}
		return err
	})
}

//go:wasmexport cabi_post_reading
func postReading(result unsafe.Pointer) { held = held[:0] }
